import { findAppGap } from '../../store/index.ts';
import { type Address, formatAddress, isLoopback, parseAddress, reaches } from './address.ts';
import type { Finding } from './check.ts';
import { formatPath, type Path } from './problem.ts';
import type { Settings } from './schema.ts';

/** A value with gaps: whatever was wrong in itself is left out. */
export type WithGaps<T> = T extends (infer E)[]
  ? (WithGaps<E> | undefined)[]
  : T extends object
    ? { [K in keyof T]?: WithGaps<T[K]> | undefined }
    : T;
type Loose = WithGaps<Settings>;

/** What is wrong between fields that are each right in themselves. `localHosts`: this machine's own addresses. */
export function checkRelations(settings: Loose, localHosts: ReadonlySet<string>): Finding[] {
  return [
    ...checkKeys(settings),
    ...checkListeners(settings),
    ...checkTokens(settings),
    ...checkApps(settings),
    ...checkUpstreams(settings, localHosts),
    ...checkWordLists(settings),
  ];
}

function checkKeys({ sessions, database, masterKey }: Loose): Finding[] {
  const findings: Finding[] = [];
  const { lifetimeSec, keyRotationSec } = sessions ?? {};
  if (lifetimeSec !== undefined && keyRotationSec !== undefined && keyRotationSec < lifetimeSec) {
    findings.push({
      path: ['sessions', 'keyRotationSec'],
      reason: `${keyRotationSec} is shorter than a session lasts`,
      allowed: `at least sessions.lifetimeSec, which is ${lifetimeSec}`,
    });
  }
  if (database !== undefined && database !== 'embedded' && masterKey === undefined) {
    findings.push({
      path: ['masterKey'],
      reason: 'is missing: a database elsewhere needs the same key on every process',
      allowed: 'masterKey or masterKeyFile with 32 random bytes in base64, as `openssl rand -base64 32` makes them',
    });
  }
  return findings;
}

/** What apps lack whose fields are all right in themselves: credentials that fit together, a key of callbacks, … */
export function checkWholeApps({ apps }: Settings): Finding[] {
  return apps.flatMap((app, index): Finding[] => {
    const gap = findAppGap(app);
    if (gap === undefined) return [];
    const { field = '', reason, allowed } = gap;
    const path = ['apps', index, ...(field.match(/[^.[\]]+/g) ?? [])].map((step) =>
      typeof step === 'string' && /^[0-9]+$/.test(step) ? Number(step) : step,
    );
    return [{ path, reason, ...(allowed === undefined ? {} : { allowed }) }];
  });
}

/** The address of a listener as configured; undefined when it is off or wrong. */
export function listenAddress(listener: WithGaps<Settings['listen']['access']> | undefined): Address | undefined {
  if (listener === undefined || listener === false || listener === 'none') return undefined;
  const text = typeof listener === 'string' ? listener : listener.address;
  return text === undefined ? undefined : parseAddress(text);
}

function checkListeners({ listen, ops }: Loose): Finding[] {
  const findings: Finding[] = [];
  const seen = new Map<string, string>();
  for (const name of ['access', 'im', 'ops'] as const) {
    const address = listenAddress(listen?.[name]);
    if (address === undefined || address.port === 0) continue;
    const text = formatAddress(address);
    const other = seen.get(text);
    if (other !== undefined) findings.push({ path: ['listen', name], reason: `is the address of listen.${other} too` });
    seen.set(text, name);
  }
  const opsAddress = listenAddress(listen?.ops);
  if (opsAddress === undefined) return findings;
  if (!isLoopback(opsAddress.host) && ops?.tokens?.length === 0) {
    findings.push({
      path: ['listen', 'ops'],
      reason: `${formatAddress(opsAddress)} is open to other machines, and ops.tokens is empty`,
      allowed: 'a loopback address, or at least one token in ops.tokens',
    });
  }
  return findings;
}

function checkTokens({ ops }: Loose): Finding[] {
  const tokens = ops?.tokens ?? [];
  const pathOf = (field: string) => (index: number) => ['ops', 'tokens', index, field];
  return [
    ...duplicates(
      tokens.map((token) => token?.name),
      pathOf('name'),
    ),
    ...duplicates(
      tokens.map((token) => token?.token),
      pathOf('token'),
    ),
  ];
}

function checkApps({ apps = [] }: Loose): Finding[] {
  const routes = apps.flatMap((app, appIndex) =>
    (app?.access?.routes ?? []).map((route, index) => ({
      path: ['apps', appIndex, 'access', 'routes', index],
      key: routeKey(route),
    })),
  );
  return [
    ...duplicates(
      apps.map((app) => app?.sdkAppId),
      (index) => ['apps', index, 'sdkAppId'],
    ),
    ...apps.flatMap((app, appIndex) =>
      duplicates(
        (app?.im?.profileFields ?? []).map((field) => field?.keyword),
        (index) => ['apps', appIndex, 'im', 'profileFields', index, 'keyword'],
      ),
    ),
    ...duplicates(
      routes.map(({ key }) => key),
      (index) => routes[index]?.path ?? [],
    ).map((finding) => ({
      ...finding,
      reason: finding.reason.replace('is the same as', 'serves the same host and prefix as'),
    })),
  ];
}

function routeKey(route: { host?: string | undefined; prefix?: string | undefined } | undefined): string | undefined {
  if (route?.host === undefined || route.prefix === undefined) return undefined;
  return `${route.host.toLowerCase()} ${route.prefix}`;
}

/** A finding for each value that an earlier one equals. */
function duplicates(values: (string | number | undefined)[], pathOf: (index: number) => Path): Finding[] {
  const first = new Map<string | number, number>();
  return values.flatMap((value, index) => {
    const earlier = value === undefined ? undefined : first.get(value);
    if (earlier !== undefined)
      return [{ path: pathOf(index), reason: `is the same as ${formatPath(pathOf(earlier))}` }];
    if (value !== undefined) first.set(value, index);
    return [];
  });
}

function checkUpstreams({ apps = [], listen }: Loose, localHosts: ReadonlySet<string>): Finding[] {
  const own = (['access', 'im', 'ops'] as const).flatMap((name) => {
    const address = listenAddress(listen?.[name]);
    return address === undefined ? [] : [{ name, address }];
  });
  return apps.flatMap((app, appIndex) =>
    (app?.access?.routes ?? []).flatMap((route, routeIndex) =>
      (route?.upstream ?? []).flatMap((upstream, index): Finding[] => {
        const path = ['apps', appIndex, 'access', 'routes', routeIndex, 'upstream', index];
        if (upstream === undefined) return [];
        const target = upstreamAddress(upstream);
        if (target === undefined) return [{ path, reason: `${JSON.stringify(upstream)} is not a URL` }];
        const loop = own.find(({ address }) => reaches(target, address, localHosts));
        return loop === undefined
          ? []
          : [
              {
                path,
                reason: `${upstream} is our own listener listen.${loop.name}`,
                allowed: "an origin of the app's backend",
              },
            ];
      }),
    ),
  );
}

function checkWordLists({ im, apps = [] }: Loose): Finding[] {
  if (im?.wordLists === undefined) return [];
  const categories = im.wordLists.map((list) => list?.category);
  const known = new Set(categories);
  const unknown = apps.flatMap((app, appIndex) =>
    (app?.im?.wordLists ?? []).flatMap((category, index): Finding[] => {
      if (category === undefined || known.has(category)) return [];
      const path = ['apps', appIndex, 'im', 'wordLists', index];
      const reason = `${JSON.stringify(category)} is no category of im.wordLists`;
      const names = categories.filter((one) => one !== undefined).join(', ');
      return [{ path, reason, allowed: names === '' ? 'none: im.wordLists is empty' : names }];
    }),
  );
  return [...duplicates(categories, (index) => ['im', 'wordLists', index, 'category']), ...unknown];
}

/** Host and port that an origin stands for; undefined when it is no URL (port 99999). */
export function upstreamAddress(origin: string): Address | undefined {
  const url = URL.parse(origin);
  if (url === null) return undefined;
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  return { host: url.hostname.replace(/^\[|\]$/g, '').toLowerCase(), port };
}
