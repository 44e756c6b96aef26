/** A word for an error: its code, or else its class. Messages of the system may hold anything. */
export function codeOf(error: unknown): string {
  if (error !== null && typeof error === 'object' && 'code' in error && typeof error.code === 'string') {
    return error.code;
  }
  return error instanceof Error ? error.name : 'error';
}
