import { randomBytes } from 'node:crypto';

/**
 * Ids of links: the name of a login, a dot, and what tells the links of that login apart, as each resume opens another one.
 * So a terminal that did not get the answer to its resume can repeat it: the login is still its own.
 */

const pattern = /^[A-Za-z0-9_-]{12}\.[A-Za-z0-9_-]{8}$/;

/** The id of a new link; with `resume`, of one that goes on from that link. */
export function makeLinkId(resume?: string): string {
  const login = resume === undefined ? randomBytes(9).toString('base64url') : loginOf(resume);
  return `${login}.${randomBytes(6).toString('base64url')}`;
}

export function isLinkId(value: unknown): value is string {
  return typeof value === 'string' && pattern.test(value);
}

/** The login that a link belongs to. */
export function loginOf(linkId: string): string {
  return linkId.slice(0, linkId.indexOf('.'));
}
