/** What this page says about times, messages and errors. */

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
export function textOf({ status, body, isSelf }) {
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

/** Why a message was not sent. @param {import('qalgate/sdk/im').ImError | undefined} error @param {string} peer */
export function failureText(error, peer) {
  switch (error?.code) {
    case 'RECEIVER_UNKNOWN':
      return `Nobody has taken the name “${peer}” yet.`;
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
