/** What the page knows of groups: their names, who asks to be in one, what the account is told of them, how one makes and finds them. */
import { avatar, byId, make, place } from './dom.js';
import { createGroupPanel } from './group-panel.js';
import { button } from './message-view.js';
import { briefTime, groupErrorText, groupText, isoTime, noticeText } from './words.js';

/**
 * @typedef {import('qalgate/sdk/im').ImConversation} ImConversation
 * @typedef {import('qalgate/sdk/im/groups').Groups} Groups
 * @typedef {import('qalgate/sdk/im/groups').GroupCache} GroupCache
 * @typedef {import('qalgate/sdk/im/groups').GroupRequest} GroupRequest
 * @typedef {import('qalgate/sdk/im/groups').PublicGroupProfile} PublicGroupProfile
 */

/** What stands elsewhere on the page is not said at the top, too. @type {string[]} */
const quietKinds = ['applied', 'invited', 'created', 'quit'];

/**
 * @param {Groups} groups
 * @param {GroupCache} cache
 * @param {{ account: string, say: (text: string) => void, goTo: (conversation: string) => void, redraw: () => void }} deps
 */
export function createGroupRoom(groups, cache, { account, say, goTo, redraw }) {
  /** Of groups that the account was in, by id. @type {Map<string, string>} */
  const oldNames = new Map();
  const requests = byId('requests');
  const panel = createGroupPanel(groups, cache, { account, attempt, invite });

  /** Who asks, and who is asked: what nobody has answered yet. */
  async function readRequests() {
    const open = (await groups.requests()).requests.filter(({ result }) => result === undefined);
    place(requests, open.map(requestElement));
    requests.hidden = open.length === 0;
  }

  /** @param {GroupRequest} request */
  function requestElement(request) {
    const { kind, groupName, account: who, inviter, words } = request;
    const text = kind === 'invitation' ? `${inviter} invites you to ${groupName}` : `${who} wants to join ${groupName}`;
    const answer = (/** @type {boolean} */ agrees) => async () => {
      const isDone = await attempt(() => groups.answer(request, { agrees }));
      await look(readRequests);
      if (isDone && agrees && kind === 'invitation') goTo(`group:${request.group}`);
    };
    const yes = button(kind === 'invitation' ? 'Join' : 'Let in', 'link', answer(true));
    const said = words === '' ? text : `${text}: “${words}”`;
    return make('li', {}, make('span', {}, said), ' ', yes, ' ', button('No', 'link', answer(false)));
  }

  /** Something is asked for; without an answer what stands there stays. @param {() => Promise<void>} read */
  async function look(read) {
    await read().catch(() => {});
  }

  /** Something is done; if it is refused that is said. @param {() => Promise<unknown>} run @param {(text: string) => void} [tell] */
  async function attempt(run, tell = say) {
    try {
      await run();
      return true;
    } catch (error) {
      tell(groupErrorText(error));
      return false;
    }
  }

  /** @param {string} group @param {string} names @param {(text: string) => void} tell */
  async function invite(group, names, tell) {
    const accounts = namesIn(names).filter((name) => name !== account);
    if (accounts.length === 0) return false;
    return await attempt(async () => {
      const results = await groups.invite(group, accounts);
      const failed = results.filter(({ outcome }) => outcome === 'failed').map((one) => one.account);
      tell(failed.length > 0 ? `Could not be invited: ${failed.join(', ')}.` : '');
      if (failed.length === 0) say('Invited.');
    }, tell);
  }

  const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));
  const tellIn = (/** @type {string} */ id) => (/** @type {string} */ text) => {
    byId(id).textContent = text;
  };

  /** A window that its button opens. @param {string} id @param {string} opener @param {() => void} [begin] */
  function dialog(id, opener, begin) {
    const element = /** @type {HTMLDialogElement} */ (byId(id));
    byId(opener).onclick = () => {
      element.querySelector('form')?.reset();
      begin?.();
      element.showModal();
    };
    return element;
  }
  for (const cancel of document.querySelectorAll('dialog button[value=cancel]')) {
    cancel.addEventListener('click', () => cancel.closest('dialog')?.close());
  }

  // To make one.
  const making = dialog('make', 'new-group', () => {
    tellIn('make-error')('');
    showInvited();
  });
  /** Nobody is invited to be an audience. */
  function showInvited() {
    byId('first-members').hidden = field('group-type').value === 'AVChatRoom';
  }
  field('group-type').onchange = showInvited;
  /** @type {HTMLFormElement} */ (making.querySelector('form')).onsubmit = async (event) => {
    event.preventDefault();
    const names = byId('first-members').hidden ? '' : field('group-members').value;
    const draft = { type: field('group-type').value, name: field('group-name').value.trim() };
    if (draft.name === '') return tellIn('make-error')('A name is needed.');
    await attempt(async () => {
      const group = await groups.create(draft);
      making.close();
      goTo(`group:${group}`);
      await invite(group, names, say);
    }, tellIn('make-error'));
  };

  // To find one by its id.
  /** @type {PublicGroupProfile | undefined} */
  let found;
  const showFound = (/** @type {PublicGroupProfile | undefined} */ group) => {
    found = group;
    byId('found').hidden = group === undefined;
    const isOpen = group?.applyOption === 'FreeAccess';
    const isClosed = group?.applyOption === 'DisableApply';
    byId('find-go').textContent = group === undefined ? 'Search' : isOpen ? 'Join' : 'Ask to join';
    byId('find-go').toggleAttribute('disabled', isClosed);
    byId('asking').hidden = isOpen || isClosed;
    tellIn('find-error')(isClosed ? 'It takes in only whom it invites.' : '');
    if (group === undefined) return;
    const about = make('span', { class: 'fine' }, groupText(group));
    byId('found-group').replaceChildren(avatar(group.name), make('span', {}, group.name, make('br'), about));
  };
  const finding = dialog('find', 'find-group', () => showFound(undefined));
  field('find-id').oninput = () => showFound(undefined);
  /** @type {HTMLFormElement} */ (finding.querySelector('form')).onsubmit = async (event) => {
    event.preventDefault();
    const group = field('find-id').value.trim();
    await attempt(async () => {
      if (cache.groups.has(group)) finished(group);
      else if (found === undefined) showFound(await groups.find(group));
      else if ((await groups.apply(group, { words: field('find-words').value.trim() })) === 'joined') finished(group);
      else finished(undefined);
    }, tellIn('find-error'));
  };

  /** @param {string | undefined} group that the account is in; undefined: it has to be let in */
  function finished(group) {
    finding.close();
    if (group === undefined) say('You have asked. You are told here when somebody answers.');
    else goTo(`group:${group}`);
  }

  // What the account is told.
  dialog('notices', 'bell', () => void look(readNotices));
  async function readNotices() {
    const told = (await groups.notices()).toReversed().flatMap((notice) => {
      const text = noticeText(notice, account);
      const { time } = notice;
      return text === undefined
        ? []
        : [make('li', {}, text, make('time', { class: 'fine', datetime: isoTime(time) }, briefTime(time)))];
    });
    place(byId('notice-list'), told.length > 0 ? told : [make('li', { class: 'fine' }, 'Nothing yet.')]);
    await groups.setNoticesRead();
  }

  function drawBell() {
    const unread = groups.unreadNotices;
    const bell = byId('bell');
    bell.setAttribute('aria-label', unread > 0 ? `Notices, ${unread} unread` : 'Notices');
    bell.querySelector('.badge')?.remove();
    if (unread > 0) bell.append(make('span', { class: 'badge' }, String(unread)));
  }

  groups.onNotice((notice) => {
    oldNames.set(notice.group, notice.groupName);
    const text = noticeText(notice, account);
    if (text !== undefined && !quietKinds.includes(notice.kind) && notice.operator !== account) say(text);
    // What one has done oneself is no news.
    if (notice.operator === account && groups.unreadNotices === 0) void look(groups.setNoticesRead);
    void look(readRequests);
  });
  cache.onGroupAdd(redraw);
  cache.onGroupUpdate(redraw);
  cache.onGroupDelete(redraw);
  drawBell();

  return {
    /** What a conversation is called. @param {ImConversation} conversation */
    titleOf({ type, peer }) {
      return type === 'group' ? (cache.groups.get(peer)?.name ?? oldNames.get(peer) ?? 'A group') : peer;
    },
    drawBell,
    /** The service can be asked. */
    async refresh() {
      drawBell();
      await look(readRequests);
    },
    /** The window of a group. @param {string} group */
    async open(group) {
      if (!(await panel.open(group))) say('You are no member of this group.');
    },
  };
}

/** @param {string} text names with commas or spaces between */
function namesIn(text) {
  return text
    .split(/[\s,;]+/)
    .map((name) => name.normalize('NFC'))
    .filter((name) => name !== '');
}
