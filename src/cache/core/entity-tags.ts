/** Entity tags (RFC 9110 §8.8.3) in their written form: `"a"` or `W/"a"`. */

const entityTag = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/;
const nextTag = /((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")[\t ]*(?=,|$)/y;
/** What stands between members, empty ones included: taken at once, as what is looked at again and again costs its square. */
const separators = /[\t ,]*/y;
const nextComma = /[^,]*,/y;

export function isEntityTag(value: string): boolean {
  return entityTag.test(value);
}

/** The tags of an If-None-Match list. A member that is none is looked past. */
export function parseTagList(value: string): string[] {
  const tags: string[] = [];
  for (let at = 0; at < value.length; ) {
    separators.lastIndex = at;
    separators.exec(value);
    at = separators.lastIndex;
    nextTag.lastIndex = at;
    const found = nextTag.exec(value);
    if (found !== null) {
      tags.push(found[1] as string);
      at = nextTag.lastIndex;
      continue;
    }
    nextComma.lastIndex = at;
    if (nextComma.exec(value) === null) break;
    at = nextComma.lastIndex;
  }
  return tags;
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
