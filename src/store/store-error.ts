/** What stops a start or a command: the operator has to do something, and the message says what. */
export type StoreErrorCode =
  /** Another process serves from this data directory. */
  | 'DATA_DIR_IN_USE'
  /** The data directory cannot be read, written or understood. */
  | 'DATA_DIR_UNUSABLE'
  /** The data directory was made by another major version of PostgreSQL. */
  | 'POSTGRES_VERSION'
  /** The embedded server cannot be found, started or reached. */
  | 'POSTGRES_UNUSABLE'
  /** The external database cannot be reached. */
  | 'DATABASE_UNREACHABLE'
  /** The schema is older or newer than this program can work with. */
  | 'SCHEMA_VERSION'
  /** A stored secret does not open with the master keys given. */
  | 'MASTER_KEY';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The text of whatever was thrown. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error or the SQLSTATE of a PostgreSQL error. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
