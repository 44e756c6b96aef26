import { type Case, freshFor, neverFresh, neverStored } from '../messages.ts';

const cacheControl = (id: string, name: string, value: string, section = 'RFC 9111 §5.2') => ({
  id: `read-${id}`,
  section,
  name: `${name}: ${value}`,
  origin: [`Cache-Control: ${value}`],
});

const fresh60 = (id: string, name: string, value: string, section?: string): Case => {
  const { origin, ...facts } = cacheControl(id, name, value, section);
  return { ...facts, steps: freshFor(60, origin) };
};

const stale = (id: string, name: string, value: string, section?: string): Case => {
  const { origin, ...facts } = cacheControl(id, name, value, section);
  return { ...facts, steps: neverFresh(origin) };
};

/** How Cache-Control of a response is read (RFC 9111 §5.2), good and bad. */
export const directives: Case[] = [
  fresh60('case', 'names are read without regard to case', 'MAX-AGE=60'),
  fresh60('mixed-case', 'names are read without regard to case', 'Max-Age=60, PUBLIC'),
  fresh60('quoted', 'both forms of an argument are read', 'max-age="60"', 'RFC 9111 §5.2'),
  fresh60('quoted-s-maxage', 'both forms of an argument are read', 's-maxage="60", max-age=1'),
  fresh60('leading-zeros', 'zeros in front change nothing', 'max-age=0060', 'RFC 9111 §1.2.2'),
  fresh60('unknown', 'unknown directives are ignored', 'foo, max-age=60, bar=1', 'RFC 9111 §5.2.3'),
  fresh60('unknown-quoted', 'a comma in quotes ends nothing', 'foo="a, max-age=1", max-age=60', 'RFC 9111 §5.2.3'),
  fresh60(
    'unknown-escaped',
    'a quote that is escaped ends nothing',
    'foo="a\\", max-age=1", max-age=60',
    'RFC 9111 §5.2.3',
  ),
  fresh60('community', 'an unknown extension', 'community="UCI", max-age=60', 'RFC 9111 §5.2.3'),
  fresh60('suffix', 'a longer name is another name', 'max-age-x=1, max-age=60'),
  fresh60('prefix', 'a longer name is another name', 'x-max-age=1, max-age=60'),
  fresh60('empty-members', 'empty members are nothing', ', ,max-age=60,,', 'RFC 9110 §5.6.1'),
  fresh60('spaces', 'white space around the comma', 'public \t,\t max-age=60 ,foo', 'RFC 9110 §5.6.1'),
  fresh60('no-spaces', 'no white space around the comma', 'public,max-age=60,foo', 'RFC 9110 §5.6.1'),
  fresh60('twice-first', 'of two values the first counts', 'max-age=60, max-age=1', 'RFC 9111 §4.2.1'),
  fresh60('twice-s-maxage', 'of two values the first counts', 's-maxage=60, s-maxage=1', 'RFC 9111 §4.2.1'),
  // Ours: what somebody plainly meant to forbid is not stored, though his spelling is no directive (C12).
  ...['no-store; max-age=60', 'max-age=60; no-store', 'max-age=60; private ; foo', 'max-age=60, no-cache; x'].map(
    (value, i): Case => {
      const { origin, ...facts } = cacheControl(`semicolon-${i}`, 'what forbids is heard behind a semicolon', value);
      return value.includes('no-cache')
        ? { ...facts, modes: ['qal'], steps: neverStored([...origin, 'ETag: "a"']) }
        : { ...facts, steps: neverStored([...origin, 'ETag: "a"']) };
    },
  ),
  {
    id: 'read-twice-short',
    section: 'RFC 9111 §4.2.1',
    name: 'of two values the first counts: max-age=1, max-age=60',
    steps: freshFor(1, ['Cache-Control: max-age=1, max-age=60']),
  },
  {
    id: 'read-two-lines',
    section: 'RFC 9110 §5.3',
    name: 'two lines are one list',
    steps: freshFor(60, ['Cache-Control: public', 'Cache-Control: max-age=60']),
  },
  {
    id: 'read-two-lines-first',
    section: 'RFC 9110 §5.3',
    name: 'of two lines with a value each the first counts',
    steps: freshFor(60, ['Cache-Control: max-age=60', 'Cache-Control: max-age=1']),
  },
  {
    id: 'read-two-lines-no-store',
    section: 'RFC 9110 §5.3',
    name: 'a no-store in the second line counts',
    steps: neverFresh(['Cache-Control: max-age=60', 'Cache-Control: no-store']),
  },
  {
    id: 'read-field-name-case',
    section: 'RFC 9110 §5.1',
    name: 'names of fields are read without regard to case',
    steps: freshFor(60, ['cACHE-cONTROL: max-age=60']),
  },
  {
    id: 'read-empty',
    section: 'RFC 9111 §5.2',
    name: 'an empty Cache-Control says nothing: Expires counts',
    steps: freshFor(60, ['Cache-Control:', 'Expires: {now+60}']),
  },
  stale('in-quotes', 'a directive within quotes is none', 'foo="max-age=60"', 'RFC 9111 §5.2.3'),
  stale('only-suffix', 'a longer name is another name', 'max-age-x=60'),
  stale('only-prefix', 'a longer name is another name', 'x-max-age=60'),
  stale('underscore', 'another spelling is another name', 'max_age=60'),
  stale('fraction', 'what is no integer is no lifetime', 'max-age=60.5', 'RFC 9111 §4.2.1'),
  stale('negative', 'what is no integer is no lifetime', 'max-age=-1', 'RFC 9111 §1.2.2'),
  stale('plus', 'what is no integer is no lifetime', 'max-age=+60', 'RFC 9111 §1.2.2'),
  stale('word', 'what is no integer is no lifetime', 'max-age=abc', 'RFC 9111 §4.2.1'),
  stale('unit', 'what is no integer is no lifetime', 'max-age=60s', 'RFC 9111 §4.2.1'),
  stale('hex', 'what is no integer is no lifetime', 'max-age=0x60', 'RFC 9111 §4.2.1'),
  stale('exponent', 'what is no integer is no lifetime', 'max-age=6e1', 'RFC 9111 §4.2.1'),
  stale('single-quotes', 'single quotes quote nothing', "max-age='60'", 'RFC 9111 §5.2'),
  stale('no-value', 'a lifetime needs a value', 'max-age', 'RFC 9111 §5.2.2.1'),
  stale('empty-value', 'a lifetime needs a value', 'max-age=', 'RFC 9111 §5.2.2.1'),
  stale('empty-quotes', 'a lifetime needs a value', 'max-age=""', 'RFC 9111 §5.2.2.1'),
  stale('s-maxage-word', 'what is no integer is no lifetime', 's-maxage=abc', 'RFC 9111 §4.2.1'),
  {
    id: 'read-invalid-with-expires',
    section: 'RFC 9111 §4.2.1',
    name: '[C2] a bad max-age beside a good Expires: stale by the RFC, absent in mode qal',
    steps: [
      { origin: ['Cache-Control: max-age=abc', 'Expires: {now+60}'], from: 'origin' },
      { after: 59, from: 'origin', qal: { from: 'cache', age: 59 } },
    ],
  },
  {
    id: 'read-invalid-s-maxage-with-max-age',
    section: 'RFC 9111 §4.2.1',
    name: '[C2] a bad s-maxage beside a good max-age: stale by the RFC, absent in mode qal',
    steps: [
      { origin: ['Cache-Control: s-maxage=abc, max-age=60'], from: 'origin' },
      { after: 59, from: 'origin', qal: { from: 'cache', age: 59 } },
    ],
  },
  {
    id: 'read-overflow-31',
    section: 'RFC 9111 §1.2.2',
    name: 'a lifetime of 2^31 s is long, not negative',
    steps: [
      { origin: ['Cache-Control: max-age=2147483648'], from: 'origin' },
      { after: 100_000_000, from: 'cache', age: 100_000_000 },
    ],
  },
  {
    id: 'read-overflow-32',
    section: 'RFC 9111 §1.2.2',
    name: 'a lifetime of 2^32 + 1 s is long, not one second',
    steps: [
      { origin: ['Cache-Control: max-age=4294967297'], from: 'origin' },
      { after: 1_000_000, from: 'cache', age: 1_000_000 },
    ],
  },
  {
    id: 'read-overflow-huge',
    section: 'RFC 9111 §1.2.2',
    name: 'a number that overflows everything is a long lifetime',
    steps: [
      { origin: ['Cache-Control: max-age=99999999999999999999999999999999'], from: 'origin' },
      { after: 1_000_000, from: 'cache', age: 1_000_000 },
    ],
  },
  {
    id: 'read-conflict-no-store',
    section: 'RFC 9111 §4.2.1',
    name: 'of directives in conflict the stricter counts: no-store and max-age',
    steps: neverFresh(['Cache-Control: max-age=60, no-store']),
  },
  {
    id: 'read-conflict-private-public',
    section: 'RFC 9111 §4.2.1',
    name: 'of directives in conflict the stricter counts: private and public',
    steps: neverFresh(['Cache-Control: public, private, max-age=60']),
  },
  {
    id: 'read-no-cache-max-age',
    section: 'RFC 9111 §4.2.1',
    name: 'of directives in conflict the stricter counts: no-cache and max-age',
    steps: neverFresh(['Cache-Control: no-cache, max-age=60']),
  },
  {
    id: 'read-pragma',
    section: 'RFC 9111 §5.4',
    name: '[C2] Pragma: no-cache of a response means nothing in the RFC; mode qal does not store it',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Pragma: no-cache'], from: 'origin' },
      { after: 30, from: 'cache', qal: { from: 'origin' } },
    ],
  },
  {
    id: 'read-warning',
    section: 'RFC 9111 §5.5',
    name: 'a Warning goes through and changes nothing',
    steps: [
      { origin: ['Cache-Control: max-age=60', 'Warning: 110 - "stale"'], from: 'origin' },
      { from: 'cache', fields: { Warning: '110 - "stale"' } },
    ],
  },
];
