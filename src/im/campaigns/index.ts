export {
  type CampaignAdmin,
  type CampaignChange,
  type CampaignPushes,
  type CampaignQuery,
  type CampaignView,
  createCampaignAdmin,
} from './admin.ts';
export { type CampaignState, campaignStates } from './campaign.ts';
export { type CampaignInput, type CampaignReport, type Campaigns, createCampaigns } from './campaigns.ts';
export { campaignQueryFields, parseCampaignQuery } from './query.ts';
export { createRunner, type Runner, type RunnerOptions } from './runner.ts';
