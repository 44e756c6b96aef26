export { createWords, type WordsDeps, type WordsOptions } from './dirty-words.ts';
export type { WordList } from './word-lists.ts';
