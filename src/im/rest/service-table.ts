import { type ImErrorName, imErrorCatalogue } from '../../wire/index.ts';

/** What the commands of one service have in common. */
interface ServiceRow {
  readonly title: string;
  /** Numbers of this service for errors that have another one in general (API reference §15). */
  readonly codes: Partial<Record<ImErrorName, number>>;
  /** Whether its answers carry ErrorDisplay (API reference §1.2). */
  readonly hasErrorDisplay: boolean;
}

export const services = {
  im_open_login_svc: {
    title: 'Accounts',
    codes: {
      NOT_JSON: 70402,
      INVALID_FIELD: 70402,
      NOT_ADMINISTRATOR: 70403,
      TIMED_OUT: 70169,
      DATABASE_UNAVAILABLE: 70500,
      INTERNAL: 70500,
    },
    hasErrorDisplay: false,
  },
  openim: {
    title: 'One-to-one messages and presence',
    codes: { NOT_JSON: 90001, NOT_ADMINISTRATOR: 90009, ACCOUNT_NOT_REGISTERED: 90048, TIMED_OUT: 90992 },
    hasErrorDisplay: false,
  },
  recentcontact: {
    title: 'Recent contacts',
    codes: {
      NOT_JSON: 50002,
      INVALID_FIELD: 50002,
      ACCOUNT_NOT_REGISTERED: 50001,
      NOT_ADMINISTRATOR: 50003,
      TIMED_OUT: 50005,
      DATABASE_UNAVAILABLE: 50004,
      INTERNAL: 50004,
    },
    hasErrorDisplay: true,
  },
  group_open_http_svc: {
    title: 'Groups',
    codes: {
      NOT_JSON: 10011,
      NO_SUCH_COMMAND: 10003,
      INVALID_FIELD: 10004,
      BODY_NOT_ARRAY: 10004,
      BODY_ELEMENT: 10004,
      OFFLINE_PUSH_INFO: 10004,
      NOT_ADMINISTRATOR: 10007,
      REFUSED_BY_CALLBACK: 10016,
      SENDER_UNKNOWN: 10019,
      ACCOUNT_NOT_REGISTERED: 10019,
      DATABASE_UNAVAILABLE: 10002,
      INTERNAL: 10002,
    },
    hasErrorDisplay: false,
  },
  profile: {
    title: 'Profiles',
    codes: {
      NOT_JSON: 40001,
      INVALID_FIELD: 40001,
      TO_ACCOUNT: 40002,
      NOT_ADMINISTRATOR: 40004,
      DATABASE_UNAVAILABLE: 40006,
      INTERNAL: 40006,
    },
    hasErrorDisplay: true,
  },
  openim_dirty_words: {
    title: 'Dirty words',
    codes: {
      NOT_JSON: 10004,
      INVALID_FIELD: 10004,
      NOT_ADMINISTRATOR: 10007,
      DATABASE_UNAVAILABLE: 10002,
      INTERNAL: 10002,
    },
    hasErrorDisplay: false,
  },
} as const satisfies Record<string, ServiceRow>;

export type ServiceName = keyof typeof services;

/** The number of an error, as this service has it; undefined: no service was recognised. */
export function errorCode(service: ServiceName | undefined, error: ImErrorName): number {
  const row: ServiceRow | undefined = service === undefined ? undefined : services[service];
  return row?.codes[error] ?? imErrorCatalogue[error].code;
}

/** The service of a path `/v4/service/…`, if it is one of ours. */
export function serviceOf(path: string): ServiceName | undefined {
  const name = path.split('/', 3)[2];
  return name !== undefined && Object.hasOwn(services, name) ? (name as ServiceName) : undefined;
}
