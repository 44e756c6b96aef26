export {
  createProviderTokens,
  type ProviderTokens,
  type ProviderTokensDeps,
  type TokenSource,
} from './provider-tokens.ts';
export { type ApnsSenderDeps, type ApnsTiming, createApnsSender } from './sender.ts';
