import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { Account, AccountNo } from '../../src/im/model.ts';
import { createProfiles, customFields, findField, standardFields } from '../../src/im/profiles/index.ts';
import type { LinkEvent, ProfileReader } from '../../src/im/services.ts';
import type { AppSettings } from '../../src/store/index.ts';
import { type AccountId, describeRefusal, type ImErrorName, type ImResult } from '../../src/wire/index.ts';
import { completeApp } from '../support/app-settings.ts';
import { openTestDatabase } from '../support/database.ts';

const { db, logger, metrics, events: logged } = await openTestDatabase(t);
const secret = 'a secret of the test';
const profileFields = [
  { keyword: 'Team' },
  { keyword: 'Photo', type: 'bytes' },
  { keyword: 'Score', read: 'app', write: 'admin' },
  { keyword: 'Note', read: 'admin', write: 'admin' },
  { keyword: 'level' },
];
const app = completeApp({ sdkAppId: 1_400_000_000, secret, im: { profileFields } });
const plain = completeApp({ sdkAppId: 7, secret });
const apps = new Map<number, AppSettings>([app, plain].map((one) => [one.sdkAppId, one]));

/** What the terminals were told. */
const told: { to: AccountNo; event: LinkEvent; exceptLink: string | undefined }[] = [];
const profiles = createProfiles({
  db,
  apps,
  words: { find: (sdkAppId, text) => (sdkAppId === app.sdkAppId && text.includes('dirty') ? 'dirty' : undefined) },
  bus: { publish: (to, event, exceptLink) => void told.push({ to, event, exceptLink }) },
  logger,
  metrics,
});
t.beforeEach(() => void told.splice(0));

let made = 0;
async function makeAccount({ sdkAppId }: AppSettings = app, profile: object = {}): Promise<Account> {
  made += 1;
  const identifier = `account ${made}` as AccountId;
  const { rows } = await db.pool.query(
    'insert into account (sdk_app_id, identifier, profile, created_ms) values ($1, $2, $3, 0) returning id',
    [sdkAppId, identifier, JSON.stringify(profile)],
  );
  return { no: rows[0].id, sdkAppId, identifier };
}

const self = (): ProfileReader => 'self';
const admin = (): ProfileReader => 'administrator';
const storedOf = async ({ no }: Account) =>
  (await db.pool.query('select profile from account where id = $1', [no])).rows[0].profile;

async function read(account: Account, fields: string[], reader = admin) {
  const got = await profiles.get([account], fields, reader);
  if (!got.ok) throw new Error(describeRefusal(got));
  return got.value.get(account.no);
}

function refused(t: Test, result: ImResult<unknown>, error: ImErrorName, line: string): void {
  if (result.ok) throw new Error(`was not refused: ${line}`);
  t.equal(result.error, error, line);
  t.equal(describeRefusal(result), line);
}

t.test('[U1] every standard field is written and read, by name and by tag', async (t) => {
  const values: Record<string, string | number> = {
    nick: 'Lin 林',
    gender: 'Gender_Type_Female',
    birthday: 20_000_131,
    location: 'x'.repeat(16),
    signature: 'tea',
    allowType: 'AllowType_Type_DenyAny',
    language: 4_294_967_295,
    faceUrl: 'https://img.example/lin.png',
    messageSettings: 1,
    adminForbidType: 'AdminForbid_Type_SendOut',
    level: 0,
    role: 3,
  };
  const names = standardFields.map(({ name }) => name);
  t.same(Object.keys(values), names, 'all of them');
  const byName = await makeAccount();
  t.same(await profiles.set(byName, values, 'administrator'), { ok: true, value: undefined });
  t.same(await read(byName, names), values);
  const byTag = await makeAccount();
  const tagged = Object.fromEntries(standardFields.map(({ name, tag }) => [tag, values[name]]));
  t.ok((await profiles.set(byTag, tagged, 'administrator')).ok);
  t.same(
    await read(
      byTag,
      standardFields.map(({ tag }) => tag),
    ),
    values,
    'told by name',
  );
  t.same(await read(byTag, ['nick', 'Tag_Profile_IM_Role']), { nick: values.nick, role: 3 }, 'only what was asked for');
  t.same(await read(byTag, []), {});
  t.ok((await profiles.set(byTag, { nick: '' }, 'self')).ok, 'a text may be empty');
  t.same(await read(byTag, ['nick', 'signature']), { nick: '', signature: 'tea' }, 'the others stay');
});

t.test('[U1] what was never set is left out, unless it has a default: allow type anyone', async (t) => {
  const account = await makeAccount();
  t.same(
    await read(
      account,
      standardFields.map(({ name }) => name),
    ),
    {
      allowType: 'AllowType_Type_AllowAny',
      adminForbidType: 'AdminForbid_Type_None',
    },
  );
  t.same(await storedOf(account), {});
  const imported = await makeAccount(app, { nick: 'Mo', faceUrl: 'https://img.example/mo.png' });
  t.match(await read(imported, ['nick', 'faceUrl']), { nick: 'Mo' }, '[I1] what an import wrote');
});

t.test('[U2] custom fields: both forms of the tag and the keyword are the same field', async (t) => {
  const account = await makeAccount();
  const forms = ['Team', 'Tag_Profile_Custom_Team', `Tag_Profile_Custom_${app.sdkAppId}_Team`];
  for (const [index, form] of forms.entries()) {
    t.ok((await profiles.set(account, { [form]: `red ${index}` }, 'self')).ok, form);
    for (const other of forms) t.same(await read(account, [other]), { Team: `red ${index}` }, other);
  }
  t.same(await storedOf(account), { Team: 'red 2' });
  t.same(await read(account, ['Photo', 'Score']), {}, 'never set');

  // A keyword that is the name of a standard field goes by its tag.
  t.ok((await profiles.set(account, { Tag_Profile_Custom_level: 'mine' }, 'self')).ok);
  t.ok((await profiles.set(account, { level: 5 }, 'administrator')).ok);
  t.same(await read(account, ['level', 'Tag_Profile_Custom_level']), { level: 5, Tag_Profile_Custom_level: 'mine' });

  for (const unknown of [
    'Tag_Profile_Custom_7_Team',
    'Tag_Profile_Custom_team',
    'Tag_Profile_Custom_',
    'Tag_Profile_Custom_Other',
    'constructor',
  ]) {
    t.match(await profiles.get([account], [unknown], admin), { ok: false, error: 'PROFILE_TAG', field: unknown });
  }
  const stranger = await makeAccount(plain);
  t.match(
    await profiles.set(stranger, { Team: 'x' }, 'administrator'),
    { error: 'PROFILE_TAG' },
    "another app's field",
  );
  t.same(customFields(plain), []);
  t.equal(findField(app, 'Tag_Profile_IM_Nick')?.name, 'nick');
});

t.test('[U1] [U2] who may write and read', async (t) => {
  const account = await makeAccount();
  for (const field of ['adminForbidType', 'level', 'role', 'Tag_Profile_IM_Role', 'Score', 'Note']) {
    const value = field === 'adminForbidType' ? 'AdminForbid_Type_None' : ['Score', 'Note'].includes(field) ? 'x' : 1;
    const line = `${field}: may be written by administrators of the app alone`;
    refused(t, await profiles.set(account, { nick: 'Lin', [field]: value }, 'self'), 'PROFILE_NO_WRITE_RIGHT', line);
    t.ok((await profiles.set(account, { [field]: value }, 'administrator')).ok, field);
  }
  t.notOk('nick' in (await storedOf(account)), 'all or nothing');

  for (const reader of ['self', 'other'] as const) {
    const line = 'Tag_Profile_Custom_Note: may be read by administrators of the app alone';
    const asked = await profiles.get([account], ['nick', 'Tag_Profile_Custom_Note'], () => reader);
    refused(t, asked, 'PROFILE_NO_READ_RIGHT', line);
    t.same(await read(account, ['Score', 'level'], () => reader as 'administrator'), { Score: 'x', level: 1 });
  }
  t.same(await read(account, ['Note']), { Note: 'x' });
});

t.test('[U7] profiles of many accounts are read at once, friends or not', async (t) => {
  const accounts = await Promise.all(Array.from({ length: 100 }, (_, i) => makeAccount(app, { nick: `n${i}` })));
  const gone = await makeAccount(app, { nick: 'gone' });
  await db.pool.query('update account set deleted_ms = 1 where id = $1', [gone.no]);
  const got = await profiles.get([...accounts, gone], ['nick'], () => 'other');
  if (!got.ok) throw new Error(describeRefusal(got));
  t.same(
    [...got.value.values()],
    accounts.map((_, i) => ({ nick: `n${i}` })),
    'in their order; one that is deleted is left out',
  );
  t.same(await profiles.get([], ['nick'], self), { ok: true, value: new Map() });
  refused(t, await profiles.set(gone, { nick: 'x' }, 'self'), 'PROFILE_ACCOUNT_UNKNOWN', 'no account has this name');
  const foreign = { ...gone, sdkAppId: 99 };
  t.match(await profiles.get([foreign], ['nick'], self), { error: 'APP_UNKNOWN' });
  t.match(await profiles.set(foreign, { nick: 'x' }, 'self'), { error: 'APP_UNKNOWN' });
});

t.test('bad input: what is wrong with one field leaves all as they were', async (t) => {
  const account = await makeAccount(app, { nick: 'before' });
  const long = 'a text of at most 500 bytes of UTF-8';
  const genders = 'Gender_Type_Unknown, Gender_Type_Female, Gender_Type_Male';
  const cases: [Record<string, unknown>, ImErrorName, string][] = [
    [{ nick: '好'.repeat(167) }, 'PROFILE_TOO_LONG', `nick: is too long; allowed: ${long}`],
    [
      { Tag_Profile_IM_SelfSignature: 'x'.repeat(501) },
      'PROFILE_TOO_LONG',
      `Tag_Profile_IM_SelfSignature: is too long; allowed: ${long}`,
    ],
    [{ faceUrl: 'x'.repeat(501) }, 'PROFILE_TOO_LONG', `faceUrl: is too long; allowed: ${long}`],
    [
      { location: 'x'.repeat(17) },
      'PROFILE_TOO_LONG',
      'location: is too long; allowed: a text of at most 16 bytes of UTF-8',
    ],
    [{ Team: 'x'.repeat(501) }, 'PROFILE_TOO_LONG', `Team: is too long; allowed: ${long}`],
    [{ nick: 5 }, 'PROFILE_TYPE', `nick: must be a string; allowed: ${long}`],
    [{ nick: null }, 'PROFILE_TYPE', `nick: must be a string; allowed: ${long}`],
    [{ nick: 'a\0' }, 'PROFILE_VALUE', `nick: must not hold U+0000; allowed: ${long}`],
    [{ nick: '\ud800' }, 'PROFILE_VALUE', `nick: must be well-formed Unicode; allowed: ${long}`],
    [{ gender: 'female' }, 'PROFILE_VALUE', `gender: is none of the values; allowed: ${genders}`],
    [{ gender: 1 }, 'PROFILE_TYPE', `gender: must be a string; allowed: ${genders}`],
    [
      { allowType: 'AllowType_Type_Maybe' },
      'PROFILE_VALUE',
      'allowType: is none of the values; allowed: AllowType_Type_NeedConfirm, AllowType_Type_AllowAny, AllowType_Type_DenyAny',
    ],
    [{ birthday: '20000101' }, 'PROFILE_TYPE', 'birthday: must be an integer; allowed: 0 … 4294967295'],
    [{ birthday: 4_294_967_296 }, 'PROFILE_VALUE', 'birthday: is not in the range; allowed: 0 … 4294967295'],
    [{ language: -1 }, 'PROFILE_VALUE', 'language: is not in the range; allowed: 0 … 4294967295'],
    [{ level: 1.5 }, 'PROFILE_VALUE', 'level: is not in the range; allowed: 0 … 4294967295'],
    [{ role: Number.NaN }, 'PROFILE_VALUE', 'role: is not in the range; allowed: 0 … 4294967295'],
    [{ Team: 5 }, 'PROFILE_TYPE', `Team: must be a string; allowed: ${long}`],
    [{ Photo: 'not base64!' }, 'PROFILE_VALUE', 'Photo: is not base64; allowed: at most 500 bytes, in base64'],
    [
      { Photo: Buffer.alloc(501).toString('base64') },
      'PROFILE_TOO_LONG',
      'Photo: is too long; allowed: at most 500 bytes, in base64',
    ],
    [{ Photo: 'A'.repeat(100_000) }, 'PROFILE_TOO_LONG', 'Photo: is too long; allowed: at most 500 bytes, in base64'],
    [{ nick: 'a dirty word' }, 'PROFILE_DIRTY_WORD', 'nick: the text holds a word that the app does not allow'],
    [
      { Tag_Profile_IM_SelfSignature: 'dirty' },
      'PROFILE_DIRTY_WORD',
      'Tag_Profile_IM_SelfSignature: the text holds a word that the app does not allow',
    ],
    [{ Team: 'a', Tag_Profile_Custom_Team: 'b' }, 'PROFILE_TAG', 'Tag_Profile_Custom_Team: is named twice: it is Team'],
    [
      { nik: 'x' },
      'PROFILE_TAG',
      `nik: is no field of profiles; allowed: ${[...standardFields, ...customFields(app)].map(({ name }) => name).join(', ')}`,
    ],
    [
      { Tag_Profile_IM_Nik: 'x' },
      'PROFILE_TAG',
      `Tag_Profile_IM_Nik: is no field of profiles; allowed: ${[...standardFields, ...customFields(app)].map(({ tag }) => tag).join(', ')}`,
    ],
    [
      JSON.parse('{"__proto__":"x"}'),
      'PROFILE_TAG',
      `__proto__: is no field of profiles; allowed: ${[...standardFields, ...customFields(app)].map(({ name }) => name).join(', ')}`,
    ],
  ];
  for (const [input, error, line] of cases) {
    const both = Object.assign(Object.create(null), { signature: 'after' });
    for (const [name, value] of Object.entries(input)) Object.defineProperty(both, name, { value, enumerable: true });
    refused(t, await profiles.set(account, both, 'administrator'), error, line);
  }
  const shown = await profiles.set(account, { [`${'x'.repeat(63)}😀`]: 1 }, 'self');
  t.match(shown, { ok: false, field: `${'x'.repeat(63)}\ufffd` }, 'a long name is cut');
  t.same(await storedOf(account), { nick: 'before' });
  t.same(told, [], 'and nobody is told');

  t.ok(
    (await profiles.set(account, { nick: '好'.repeat(166), Photo: Buffer.alloc(500).toString('base64') }, 'self')).ok,
  );
  t.ok((await profiles.set(account, { Photo: '' }, 'self')).ok);
  const elsewhere = await makeAccount(plain);
  t.ok((await profiles.set(elsewhere, { nick: 'dirty' }, 'self')).ok, "another app's words are not this one's");
  t.ok(
    (await profiles.set(account, { Team: 'dirty', faceUrl: 'dirty' }, 'self')).ok,
    'only nickname and signature are looked at',
  );
});

t.test('the terminals of the account are told, but for the one that did it', async (t) => {
  const account = await makeAccount();
  await profiles.set(account, { Tag_Profile_IM_Nick: 'Lin', Tag_Profile_Custom_Team: 'red' }, 'self', 'link-1');
  const event = { kind: 'profile', account: account.identifier, fields: { nick: 'Lin', Team: 'red' } };
  t.same(told.splice(0), [{ to: account.no, event, exceptLink: 'link-1' }]);
  await profiles.set(account, { level: 2, Note: 'hidden' }, 'administrator');
  t.match(told.splice(0), [{ event: { fields: { level: 2 } }, exceptLink: undefined }], 'of what it may read');
  await profiles.set(account, { Note: 'hidden' }, 'administrator');
  await profiles.set(account, {}, 'self');
  t.same(told, [], 'of nothing else');
  t.ok(logged.includes('im.profile.changed'));
  const counted = (await metrics.registry.getSingleMetric('qalgate_im_profile_changes_total')?.get())?.values;
  t.ok(counted?.some(({ labels, value }) => labels.by === 'self' && value > 0));
});

t.test('changes of several fields at once do not undo one another', async (t) => {
  const account = await makeAccount();
  await Promise.all(
    standardFields
      .filter(({ type }) => type.kind === 'u32')
      .map(({ name }, index) => profiles.set(account, { [name]: index }, 'administrator')),
  );
  t.same(await storedOf(account), { birthday: 0, language: 1, messageSettings: 2, level: 3, role: 4 });
});

t.test('whatever is set, it is refused or read back', async (t) => {
  const account = await makeAccount();
  const names = [...standardFields, ...customFields(app)].flatMap(({ name, tag }) => [name, tag]);
  const value = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.nat(),
    fc.constantFrom(...standardFields.flatMap(({ type }) => (type.kind === 'choice' ? type.values : []))),
    fc.jsonValue(),
    fc.constant(undefined),
  );
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, fc.string()), value, {
        minKeys: 1,
        maxKeys: 2,
      }),
      async (input) => {
        const before = await storedOf(account);
        const result = await profiles.set(account, input, 'administrator');
        if (!result.ok) return JSON.stringify(await storedOf(account)) === JSON.stringify(before);
        accepted += 1;
        const got = await read(account, Object.keys(input));
        return Object.entries(input).every(([name, set]) => got?.[findField(app, name)?.name ?? ''] === set);
      },
    ),
    { numRuns: 300 },
  );
  t.ok(accepted > 20, `${accepted} accepted`);
});
