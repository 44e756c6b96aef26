/**
 * The error catalogue of the access listener and the ops API: one line per code.
 * Clients match on `code`; `message` is for people. The vendor's numbers (UserSig, `/v4`) join here with their commands.
 * Source: ours; UserSig numbers from the vendor's table (API reference §1.4 and §15).
 */
export interface ErrorEntry {
  /** HTTP status that carries the error. */
  status: number;
  message: string;
  /** May the same request succeed when repeated unchanged? */
  retryable: boolean;
  /** The vendor's number, where the vendor has one for it. */
  vendorCode?: number;
}

export const errorCatalogue = {
  // What the client sent.
  BAD_REQUEST: { status: 400, message: 'the request is malformed', retryable: false },
  AMBIGUOUS_HOST: { status: 400, message: 'the request names its host twice or differently', retryable: false },
  BAD_TARGET: { status: 400, message: 'the request target is not a path', retryable: false },
  INVALID_FIELD: { status: 400, message: 'a field has a wrong value', retryable: false },
  METHOD_NOT_ALLOWED: { status: 405, message: 'the method is not allowed here', retryable: false },
  REQUEST_TIMEOUT: { status: 408, message: 'the client was too slow', retryable: true },
  BODY_TOO_LARGE: { status: 413, message: 'the request body is over the limit', retryable: false },
  URL_TOO_LONG: { status: 414, message: 'the request target is over the limit', retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, message: 'the body must be JSON', retryable: false },
  TRANSFER_CODING_UNSUPPORTED: {
    status: 501,
    message: 'the only transfer coding known is chunked',
    retryable: false,
  },
  EXPECTATION_FAILED: { status: 417, message: 'only the expectation 100-continue is known', retryable: false },
  HEADERS_TOO_LARGE: { status: 431, message: 'the request headers are over the limit', retryable: false },
  RATE_LIMITED: { status: 429, message: 'too many requests from this address', retryable: true },
  TOO_MANY_CONNECTIONS: { status: 429, message: 'too many connections from this address', retryable: true },
  // Who the client is.
  SESSION_REQUIRED: { status: 401, message: 'this app needs a session: POST /.qal/v1/session', retryable: false },
  SESSION_INVALID: { status: 401, message: 'the session is not valid', retryable: false },
  SESSION_EXPIRED: { status: 401, message: 'the session has expired', retryable: false },
  SESSION_REVOKED: {
    status: 401,
    message: 'the session was ended by logout, kick or secret rotation',
    retryable: false,
  },
  SESSION_WRONG_APP: { status: 403, message: 'the session belongs to another app than the route', retryable: false },
  USERSIG_EXPIRED: { status: 401, message: 'the UserSig has expired', retryable: false, vendorCode: 70001 },
  USERSIG_EMPTY: { status: 401, message: 'the UserSig is empty', retryable: false, vendorCode: 70002 },
  USERSIG_MALFORMED: { status: 401, message: 'the UserSig cannot be decoded', retryable: false, vendorCode: 70003 },
  USERSIG_KEY_MISMATCH: {
    status: 401,
    message: 'the UserSig was made with another key',
    retryable: false,
    vendorCode: 70009,
  },
  USERSIG_IDENTIFIER_MISMATCH: {
    status: 401,
    message: 'the UserSig is for another identifier',
    retryable: false,
    vendorCode: 70013,
  },
  USERSIG_APP_MISMATCH: { status: 401, message: 'the UserSig is for another app', retryable: false, vendorCode: 70014 },
  USERSIG_REVOKED: {
    status: 401,
    message: 'the UserSig was made invalid by a kick',
    retryable: false,
    vendorCode: 70052,
  },
  APP_UNKNOWN: { status: 404, message: 'no app has this sdkAppId', retryable: false, vendorCode: 70020 },
  UNAUTHORIZED: { status: 401, message: 'a bearer token is needed', retryable: false },
  FORBIDDEN: { status: 403, message: 'the caller may not do this', retryable: false },
  // Where it should go.
  NOT_FOUND: { status: 404, message: 'there is nothing here', retryable: false },
  NO_ROUTE: { status: 404, message: 'no route serves this host and path', retryable: false },
  CONFLICT: { status: 409, message: 'it exists already or clashes with another', retryable: false },
  PRECONDITION_FAILED: { status: 412, message: 'it was changed meanwhile', retryable: false },
  // The app's backend.
  UPSTREAM_UNAVAILABLE: { status: 503, message: 'no upstream of the app accepts requests', retryable: true },
  UPSTREAM_BUSY: { status: 503, message: 'all upstream connections are in use and the queue is full', retryable: true },
  UPSTREAM_CONNECT_FAILED: { status: 502, message: 'the upstream could not be reached', retryable: true },
  UPSTREAM_CONNECT_TIMEOUT: {
    status: 504,
    message: 'the upstream did not accept a connection in time',
    retryable: true,
  },
  UPSTREAM_HEAD_TIMEOUT: { status: 504, message: 'the upstream did not answer in time', retryable: false },
  UPSTREAM_BODY_TIMEOUT: { status: 504, message: 'the upstream stopped sending its answer', retryable: false },
  UPSTREAM_TOTAL_TIMEOUT: { status: 504, message: 'the exchange took longer than allowed', retryable: false },
  UPSTREAM_CLOSED: { status: 502, message: 'the upstream closed the connection before it answered', retryable: false },
  UPSTREAM_BAD_RESPONSE: {
    status: 502,
    message: 'the upstream answered with something that is not HTTP',
    retryable: false,
  },
  // The cache.
  CACHE_ONLY_MISS: {
    status: 504,
    message: 'the request allows a stored answer only, and there is none that may be used',
    retryable: false,
  },
  // Us.
  DATABASE_UNAVAILABLE: { status: 503, message: 'the database does not answer', retryable: true },
  INTERNAL: { status: 500, message: 'an error on our side', retryable: true },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorCatalogue;

/** The JSON body of every error that the access listener and the ops API make themselves. */
export interface ErrorBody {
  error: {
    code: ErrorCode;
    message: string;
    retryable: boolean;
    /** Which request this was: the value of QAL-Req-Seq-No, also in the log. */
    requestId?: string;
    vendorCode?: number;
    /** For INVALID_FIELD: JSON path of the field, what is wrong, and what would be right. */
    field?: string;
    reason?: string;
    allowed?: string;
  };
}

export type ErrorDetail = Pick<ErrorBody['error'], 'requestId' | 'field' | 'reason' | 'allowed'>;

/** Builds the body of an error. Pure. */
export function errorBody(code: ErrorCode, detail: ErrorDetail = {}): ErrorBody {
  const entry: ErrorEntry = errorCatalogue[code];
  return {
    error: {
      code,
      message: entry.message,
      retryable: entry.retryable,
      ...(entry.vendorCode === undefined ? {} : { vendorCode: entry.vendorCode }),
      ...detail,
    },
  };
}
