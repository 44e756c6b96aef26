export { isLinkId, makeLinkId } from './link-id.ts';
export { createPresence, type PresenceDeps, type PresenceOptions } from './presence.ts';
