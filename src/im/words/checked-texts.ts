import type { MessageElement } from '../../wire/index.ts';

/** Texts of one value that are looked at, at most; a body has room for fewer. */
const maxTexts = 10_000;

/**
 * The texts of an element that are checked for dirty words (D2): Text of a text element; of a custom element the fields that
 * the app names. `Data.title` is a field of the JSON in Data: its text, or all texts in it when it is a list or a map. `Data` is its
 * text as it stands and, when that is JSON, all texts in it, as a word can be written with escapes. Data that is no JSON has no
 * fields. Pure.
 */
export function checkedTexts(element: MessageElement, customFields: readonly string[]): string[] {
  if (element.MsgType === 'TIMTextElem') return [element.MsgContent.Text];
  if (element.MsgType !== 'TIMCustomElem' || customFields.length === 0) return [];
  const { Data, Desc, Ext } = element.MsgContent;
  let parsed: { json: unknown } | undefined;
  const json = () => {
    parsed ??= { json: parseJson(Data) };
    return parsed.json;
  };
  return customFields.flatMap((field) => {
    if (field === 'Desc') return Desc === undefined ? [] : [Desc];
    if (field === 'Ext') return Ext === undefined ? [] : [Ext];
    if (field === 'Data') return [Data, ...textsIn(json())];
    return textsIn(fieldOf(json(), field.split('.').slice(1)));
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fieldOf(json: unknown, path: readonly string[]): unknown {
  let value = json;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

/** All texts in a value, without recursion: JSON may be nested deeper than a stack is. */
function textsIn(value: unknown): string[] {
  const texts: string[] = [];
  const left = [value];
  while (left.length > 0 && texts.length < maxTexts) {
    const next = left.pop();
    if (typeof next === 'string') texts.push(next);
    else if (typeof next === 'object' && next !== null) for (const part of Object.values(next)) left.push(part);
  }
  return texts;
}
