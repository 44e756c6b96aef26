type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The fields that are there: one that is undefined is not. */
export function withoutAbsent<T extends object>(given: T): Present<T> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Present<T>;
}
