/** What the page knows of groups: their names, who asks to be in one, the windows in which one makes and looks after them. */
import { avatar, byId, make, place } from './dom.js';
import { button } from './message-view.js';
import { groupErrorText, noticeText, roleText } from './words.js';

/**
 * @typedef {import('qalgate/sdk/im').ImConversation} ImConversation
 * @typedef {import('qalgate/sdk/im/groups').Groups} Groups
 * @typedef {import('qalgate/sdk/im/groups').GroupMember} GroupMember
 * @typedef {import('qalgate/sdk/im/groups').GroupRequest} GroupRequest
 */

const muteSec = 3_600;
/** Whoever is invited to a group of this type is asked, and its owner and admins may mute and remove. */
const groupType = 'Public';

/**
 * @param {Groups} groups
 * @param {{ account: string, say: (text: string) => void, goTo: (conversation: string) => void, redraw: () => void }} deps
 */
export function createGroupRoom(groups, { account, say, goTo, redraw }) {
  /** By id. @type {Map<string, string>} */
  const names = new Map();
  const requests = byId('requests');
  const panel = /** @type {HTMLDialogElement} */ (byId('group'));
  /** Whose window is open. @type {string | undefined} */
  let shown;

  async function readNames() {
    for (const { group, name } of (await groups.list({ limit: 200 })).groups) names.set(group, name);
    redraw();
  }

  /** Who asks, and who is asked: what nobody has answered yet. */
  async function readRequests() {
    const open = (await groups.requests()).requests.filter(({ result }) => result === undefined);
    place(requests, open.map(requestElement));
    requests.hidden = open.length === 0;
    await groups.setNoticesRead();
  }

  /** @param {GroupRequest} request */
  function requestElement(request) {
    const { kind, groupName, account: who, inviter } = request;
    const text = kind === 'invitation' ? `${inviter} invites you to ${groupName}` : `${who} wants to join ${groupName}`;
    const answer = (/** @type {boolean} */ agrees) => async () => {
      await attempt(() => groups.answer(request, { agrees }));
      await look(readRequests);
      if (agrees && kind === 'invitation') goTo(`group:${request.group}`);
    };
    const yes = button(kind === 'invitation' ? 'Join' : 'Let in', 'link', answer(true));
    return make('li', {}, make('span', {}, text), ' ', yes, ' ', button('No', 'link', answer(false)));
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

  /** A window with a form. @param {string} id @param {() => Promise<boolean>} run whether it is done */
  function form(id, run) {
    const dialog = /** @type {HTMLDialogElement} */ (byId(id));
    const element = /** @type {HTMLFormElement} */ (dialog.querySelector('form'));
    element.onsubmit = async (event) => {
      event.preventDefault();
      if (await run()) element.reset();
    };
    for (const cancel of dialog.querySelectorAll('button[value=cancel]')) {
      cancel.addEventListener('click', () => dialog.close());
    }
    return dialog;
  }

  const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id));
  const tellIn = (/** @type {string} */ id) => (/** @type {string} */ text) => {
    byId(id).textContent = text;
  };

  const making = form('make', async () => {
    const accounts = namesIn(field('group-members').value).filter((name) => name !== account);
    const isMade = await attempt(async () => {
      const group = await groups.create({ type: groupType, name: field('group-name').value.trim() });
      await readNames();
      making.close();
      goTo(`group:${group}`);
      if (accounts.length > 0) await invite(group, accounts, say);
    }, tellIn('make-error'));
    return isMade;
  });

  form('group', async () => {
    const accounts = namesIn(field('invite').value);
    if (shown === undefined || accounts.length === 0) return false;
    return await invite(shown, accounts, tellIn('group-error'));
  });
  panel.onclose = () => {
    shown = undefined;
  };

  /** @param {string} group @param {string[]} accounts @param {(text: string) => void} tell */
  async function invite(group, accounts, tell) {
    return await attempt(async () => {
      const results = await groups.invite(group, accounts);
      const failed = results.filter(({ outcome }) => outcome === 'failed').map((one) => one.account);
      tell(failed.length > 0 ? `Could not be invited: ${failed.join(', ')}.` : '');
      if (failed.length === 0) say('Invited.');
    }, tell);
  }

  async function drawPanel() {
    const group = shown;
    if (group === undefined) return;
    const [{ owner, name }, { members }] = await Promise.all([groups.get(group), groups.members(group)]);
    if (group !== shown) return;
    names.set(group, name);
    byId('group-title').textContent = name;
    const me = members.find((member) => member.account === account);
    place(
      byId('group-list'),
      members.map((member) => memberElement(group, member, me)),
    );
    byId('inviting').hidden = me?.role === 'Member';
    const end = owner === account ? 'Dismiss the group' : 'Leave the group';
    place(byId('group-end'), [
      button(end, 'danger', async () => {
        const isDone = await attempt(
          () => (owner === account ? groups.dismiss(group) : groups.quit(group)),
          tellIn('group-error'),
        );
        if (isDone) panel.close();
      }),
    ]);
  }

  /** @param {string} group @param {GroupMember} member @param {GroupMember | undefined} me */
  function memberElement(group, member, me) {
    const { account: who, role, mutedUntil } = member;
    const isMuted = mutedUntil > Date.now() / 1_000;
    const may = (me?.role === 'Owner' && role !== 'Owner') || (me?.role === 'Admin' && role === 'Member');
    const act = (/** @type {string} */ text, /** @type {() => Promise<unknown>} */ run) =>
      button(text, 'link', async () => {
        await attempt(run, tellIn('group-error'));
        await look(drawPanel);
      });
    return make(
      'li',
      { 'data-account': who },
      avatar(who),
      make('span', { class: 'name' }, who),
      make('span', { class: 'fine' }, [roleText(role), isMuted ? 'muted' : ''].filter(Boolean).join(', ')),
      may ? act(isMuted ? 'Unmute' : 'Mute', () => groups.mute(group, [who], isMuted ? 0 : muteSec)) : undefined,
      may ? act('Remove', () => groups.remove(group, [who])) : undefined,
    );
  }

  byId('new-group').onclick = () => {
    tellIn('make-error')('');
    making.showModal();
  };

  groups.onNotice((notice) => {
    names.set(notice.group, notice.groupName);
    const text = noticeText(notice);
    if (text !== undefined) say(text);
    void look(readRequests);
  });
  groups.onTip((tip) => {
    if (tip.changed?.name !== undefined) names.set(tip.group, tip.changed.name);
  });
  groups.onChange(({ group, kind }) => {
    if (kind === 'added') void look(readNames);
    if (group !== shown) return;
    if (kind === 'gone') panel.close();
    else void look(drawPanel);
  });

  return {
    /** What a conversation is called. @param {ImConversation} conversation */
    titleOf({ type, peer }) {
      return type === 'group' ? (names.get(peer) ?? 'A group') : peer;
    },
    /** The service can be asked. */
    async refresh() {
      await Promise.all([look(readNames), look(readRequests)]);
    },
    /** The window of a group. @param {string} group */
    async open(group) {
      shown = group;
      tellIn('group-error')('');
      if (await attempt(drawPanel)) panel.showModal();
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
