/** Bodies of one page, in bytes, about. */
export const pageBytes = 262_144;

/** As many rows from the beginning as fit on a page, at least one. */
export function firstPage<T extends { readonly body: string }>(rows: readonly T[], maxBytes: number = pageBytes): T[] {
  let bytes = 0;
  const end = rows.findIndex((row, index) => {
    bytes += Buffer.byteLength(row.body);
    return bytes > maxBytes && index > 0;
  });
  return end === -1 ? [...rows] : rows.slice(0, end);
}
