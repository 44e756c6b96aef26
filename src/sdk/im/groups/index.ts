/** Groups for `ImClient`, in browsers and in Node: `qalgate/sdk/im/groups`. Guide: docs/guide/im-client.md, "Groups". */
export { type CachedGroup, createGroupCache, type GroupCache, type GroupCacheOptions } from './cache.ts';
export { createGroups, type GroupChange, type Groups, type GroupsOptions } from './groups.ts';
export { type GroupNotice, groupOf, type TipNotice, tipOf } from './news.ts';
export type {
  GroupApplyOption,
  GroupChanges,
  GroupDraft,
  GroupMember,
  GroupProfile,
  GroupReceive,
  GroupRequest,
  GroupRole,
  InviteResult,
  JoinedGroup,
  MemberChanges,
  PublicGroupProfile,
  RequestName,
} from './views.ts';
