export { customFields, describeType, findField, type ProfileField, standardFields } from './fields.ts';
export { createProfiles, type ProfilesDeps } from './profiles.ts';
