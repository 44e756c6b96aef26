/** What this page says about times, messages, groups and errors. */
import { tipOf } from './src/sdk/im/groups/index.ts';
import { ImError } from './src/sdk/im/index.ts';

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const weekdayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'long' });
const dateFormat = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const dayMs = 86_400_000;

/** @param {number} time Unix seconds */
export function clockTime(time) {
  return timeFormat.format(time * 1_000);
}

/** @param {number} time Unix seconds */
export function isoTime(time) {
  return new Date(time * 1_000).toISOString();
}

/** Days from then until now, counted by midnights. @param {number} time Unix seconds */
function daysAgo(time) {
  const midnight = (/** @type {Date} */ date) =>
    new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(new Date()) - midnight(new Date(time * 1_000))) / dayMs);
}

/** For a line between messages. @param {number} time Unix seconds */
export function dayName(time) {
  const days = daysAgo(time);
  if (days <= 0) return 'Today';
  return days === 1 ? 'Yesterday' : dayFormat.format(time * 1_000);
}

/** For the list of conversations. @param {number} time Unix seconds */
export function briefTime(time) {
  const days = daysAgo(time);
  if (days <= 0) return clockTime(time);
  if (days === 1) return 'Yesterday';
  return (days < 7 ? weekdayFormat : dateFormat).format(time * 1_000);
}

/** The text of a message; what is no text is named. @param {import('qalgate/sdk/im').ImMessage} message */
export function textOf(message) {
  const { status, body, isSelf } = message;
  const tip = tipOf(message);
  if (tip !== undefined) return tipText(tip);
  if (status === 'recalled') return isSelf ? 'You took a message back' : 'This message was taken back';
  return body.map(({ MsgType, MsgContent }) => elementText(MsgType, MsgContent)).join(' ');
}

/** @param {string} type @param {Readonly<Record<string, unknown>>} content */
function elementText(type, content) {
  if (type === 'TIMTextElem') return String(content.Text);
  if (type === 'TIMLocationElem') return `[Place] ${content.Desc ?? ''}`;
  if (type === 'TIMFileElem') return `[File] ${content.FileName ?? ''}`;
  if (type === 'TIMCustomElem') return `[Custom] ${content.Desc ?? ''}`;
  return `[${type.replace(/^TIM|Elem$/g, '')}]`;
}

/** What changed in a group. @param {import('qalgate/sdk/im/groups').TipNotice} tip */
export function tipText({ kind, operator, accounts, changed, muted }) {
  const who = accounts.join(', ');
  switch (kind) {
    case 'join':
      return `${who} joined`;
    case 'quit':
      return `${operator} left`;
    case 'kick':
      return `${operator} removed ${who}`;
    case 'setAdmin':
      return `${operator} made ${who} admin`;
    case 'cancelAdmin':
      return `${operator} made ${who} a plain member again`;
    case 'modifyInfo':
      return changedText(operator, changed);
    case 'modifyMember':
      return muted?.some(({ seconds }) => seconds > 0) ? `${operator} muted ${who}` : `${who} may speak again`;
  }
}

/** @param {string} operator @param {import('qalgate/sdk/im/groups').TipNotice['changed']} changed */
function changedText(operator, { name, owner, notification } = {}) {
  if (owner !== undefined) return `${operator || 'The service'} made ${owner} the owner`;
  if (name !== undefined) return `${operator} named it ${name}`;
  if (notification === '') return `${operator} took the announcement down`;
  if (notification !== undefined) return `${operator} announces: ${notification}`;
  return `${operator} changed what the group says of itself`;
}

/**
 * What the account is told of its groups; undefined: it says nothing to people.
 *
 * @param {import('qalgate/sdk/im/groups').GroupNotice} notice @param {string} account
 */
export function noticeText({ kind, operator, groupName, words, userField }, account) {
  const isOwn = operator === account;
  const saying = words === '' ? '.' : `: “${words}”`;
  switch (kind) {
    case 'created':
      return isOwn ? `You made ${groupName}.` : `${operator} made ${groupName} for you.`;
    case 'applied':
      return `${operator} asked to join ${groupName}${saying}`;
    case 'accepted':
      return isOwn ? undefined : `${operator} let you into ${groupName}${saying}`;
    case 'refused':
      return `${operator} does not let you into ${groupName}${saying}`;
    case 'invited':
      return `${operator} invited you to ${groupName}${saying}`;
    case 'pulledIn':
      return `${operator} took you into ${groupName}.`;
    case 'kicked':
      return `${operator} removed you from ${groupName}${saying}`;
    case 'quit':
      return `You left ${groupName}.`;
    case 'destroyed':
      return isOwn ? `You dismissed ${groupName}.` : `${operator} dismissed ${groupName}.`;
    case 'recycled':
      return `${groupName} is no more: nobody used it.`;
    case 'madeAdmin':
      return `You are an admin of ${groupName} now.`;
    case 'noAdmin':
      return `You are a plain member of ${groupName} again.`;
    case 'custom':
      return `${groupName}: ${userField}`;
    default:
      return undefined;
  }
}

/** What a group is to those who come upon it. @param {import('qalgate/sdk/im/groups').PublicGroupProfile} group */
export function groupText({ type, memberCount, owner }) {
  const kind = { Private: 'Private group', ChatRoom: 'Chat room', AVChatRoom: 'Audience' }[type] ?? `${type} group`;
  const count = `${memberCount} ${memberCount === 1 ? 'member' : 'members'}`;
  return [kind, count, owner && `owner ${owner}`].filter(Boolean).join(', ');
}

/** Who wrote a message, as he was called there and then. @param {import('qalgate/sdk/im').ImMessage} message */
export function senderOf({ from, extra }) {
  return typeof extra?.card === 'string' && extra.card !== '' ? extra.card : from;
}

/** @param {import('qalgate/sdk/im/groups').GroupRole} role */
export function roleText(role) {
  return { Owner: 'owner', Admin: 'admin', Member: '' }[role];
}

/** Why something could not be done with a group. @param {unknown} error */
export function groupErrorText(error) {
  if (!(error instanceof ImError)) return String(error);
  switch (error.code) {
    case 'NETWORK':
    case 'TIMEOUT':
      return 'Offline: it could not be done.';
    case 'GROUP_ACCOUNT_UNKNOWN':
      return 'Nobody has taken one of these names yet.';
    case 'GROUP_REQUEST_HANDLED':
      return 'Somebody else has answered it.';
    case 'GROUP_UNKNOWN':
      return 'There is no such group, or it cannot be found.';
    case 'GROUP_ID':
      return 'No group has an id like that.';
    case 'GROUP_ALREADY_MEMBER':
      return 'You are a member already.';
    case 'GROUP_FORBIDDEN':
      return 'That is not allowed in this group.';
    case 'GROUP_FULL':
      return 'The group is full.';
    default: {
      const what = error.field === undefined ? '' : `${error.field} `;
      const instead = error.allowed === undefined ? '' : `; allowed: ${error.allowed}`;
      return `It could not be done: ${what}${error.message}${instead}.`;
    }
  }
}

/** Why a message was not sent. @param {import('qalgate/sdk/im').ImError | undefined} error @param {string} peer */
export function failureText(error, peer) {
  switch (error?.code) {
    case 'RECEIVER_UNKNOWN':
      return `Nobody has taken the name “${peer}” yet.`;
    case 'GROUP_MUTED':
      return 'You are muted in this group.';
    case 'GROUP_FORBIDDEN':
      return 'You are no member of this group.';
    case 'GROUP_UNKNOWN':
      return 'There is no such group any more.';
    case 'DIRTY_WORD':
      return 'It holds a word that is not allowed here.';
    case 'MESSAGE_TOO_LONG':
      return 'It is too long.';
    case 'REFUSED_BY_CALLBACK':
      // With a number of the app's own the text is the app's, too.
      return error.number === 20006 ? 'It was refused.' : error.message;
    case 'NETWORK':
    case 'TIMEOUT':
      return 'There was no connection.';
    default:
      return `Not sent: ${error?.message ?? 'unknown reason'}.`;
  }
}

/** Why a message could not be taken back. @param {import('qalgate/sdk/im').ImError} error */
export function recallText(error) {
  if (error.code === 'RECALL_TOO_LATE') return 'It is too late to take this message back.';
  if (error.code === 'NETWORK' || error.code === 'TIMEOUT') return 'Offline: the message could not be taken back.';
  return `The message could not be taken back: ${error.message}.`;
}

/**
 * Why somebody is no longer logged in here.
 *
 * @param {string} account
 * @param {{ error: import('qalgate/sdk/im').ImError, platform?: string | undefined, at?: number | undefined }} notice
 */
export function endText(account, { error, platform, at }) {
  const where =
    platform === undefined || platform === 'Web' ? 'another browser window' : `another device (${platform})`;
  // Whoever was away hears of it later.
  const isLate = error.code === 'KICKED_WHILE_AWAY' && at === undefined;
  const when = isLate ? 'While this page was offline' : `At ${clockTime(at ?? Date.now() / 1_000)}`;
  const calm = 'Nothing is lost: your messages are here when you log in again.';
  switch (error.code) {
    case 'KICKED':
    case 'KICKED_WHILE_AWAY':
      return {
        title: 'You are logged in somewhere else',
        text: `${when} ${account} logged in from ${where}. Only one of them can be online at a time. ${calm}`,
      };
    case 'KICKED_BY_ADMIN':
      return { title: 'You were logged out', text: `${when} an administrator logged ${account} out. ${calm}` };
    case 'ACCOUNT_DELETED':
      return { title: 'This account is gone', text: `${when} the account ${account} was deleted.` };
    case 'NETWORK':
      return { title: 'You are not logged in', text: error.message };
    default:
      return { title: 'You are not logged in', text: `The service says: ${error.message}.` };
  }
}
