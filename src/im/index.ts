export {
  type CampaignAdmin,
  type CampaignChange,
  type CampaignPushes,
  type CampaignView,
  campaignQueryFields,
  campaignStates,
  createCampaignAdmin,
  parseCampaignQuery,
} from './campaigns/index.ts';
export { createIm, type Im, type ImDeps, type ImOptions } from './im.ts';
export type { Account, AccountNo, ConversationId } from './model.ts';
export type { BeforeSend, Consumers, ImPorts, PendingMessage, RelationCheck, SendDecision, Written } from './ports.ts';
export type { Accounts, Bus, LinkEvent, Mailbox, Messages, Presence, Profiles, Words } from './services.ts';
