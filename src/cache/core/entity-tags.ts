/** Entity tags (RFC 9110 §8.8.3) in their written form: `"a"` or `W/"a"`. */

const entityTag = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/;
const tagsInList = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g;

export function isEntityTag(value: string): boolean {
  return entityTag.test(value);
}

/** The tags of an If-None-Match or If-Match list. What lies between them is looked past. */
export function parseTagList(value: string): string[] {
  return value.match(tagsInList) ?? [];
}

/** The part that both comparisons compare. */
function opaque(tag: string): string {
  return tag.startsWith('W/') ? tag.slice(2) : tag;
}

/** RFC 9110 §8.8.3.2: weakness aside. */
export function matchesWeakly(one: string, other: string): boolean {
  return opaque(one) === opaque(other);
}

/** RFC 9110 §8.8.3.2: equal, and neither is weak. */
export function matchesStrongly(one: string, other: string): boolean {
  return one === other && !one.startsWith('W/');
}
