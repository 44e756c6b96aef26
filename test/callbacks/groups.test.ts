import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { signUserSig } from '../../src/auth/index.ts';
import { callbackSecret, openRecordingBackend } from '../support/callbacks.ts';
import { until } from '../support/database.ts';
import { createTestLink, type TestLink } from '../support/im.ts';
import { spawnService } from '../support/service.ts';

t.setTimeout(120_000);

const sdkAppId = 1_400_000_000;
const secret = 'a secret of sixteen or more';
const userSig = (identifier: string) => {
  const issuedAtSec = Math.floor(Date.now() / 1_000) - 10;
  return signUserSig({ sdkAppId, identifier, secret, expireSec: 86_400, issuedAtSec });
};

type Body = Record<string, unknown>;
const yes = { ActionStatus: 'OK', ErrorCode: 0, ErrorInfo: '' };

t.test(
  '[K1] [K3] callbacks of groups, of the whole program: by the reference to the field, and what the backend says holds',
  async (t) => {
    /** What it says to questions of that command, once. */
    const says = new Map<string, object>();
    const backend = await openRecordingBackend(t, ({ command }) => {
      const answer = says.get(command) ?? yes;
      says.delete(command);
      return answer;
    });
    const folder = t.testdir();
    const configFile = path.join(folder, 'qalgate.json');
    const im = {
      groupFields: [
        { key: 'Level', read: 'Member', write: 'Admin', callback: true },
        { key: 'Room', read: 'Member', write: 'Admin' },
      ],
    };
    const callbacks = { url: backend.url, secret: callbackSecret, events: 'all', allowPrivateNetwork: true };
    const app = { sdkAppId, secret, admins: ['admin'], im: { ...im, multiTerminal: 'all' }, callbacks };
    writeFileSync(configFile, JSON.stringify({ apps: [app] }), { mode: 0o600 });
    const program = await spawnService({ dataDir: path.join(folder, 'data'), args: ['--config', configFile] });
    t.teardown(async () => {
      program.process.kill('SIGTERM');
      await program.exited;
    });
    const query = new URLSearchParams({ sdkappid: String(sdkAppId), identifier: 'admin', usersig: userSig('admin') });
    const call = async (command: string, body: object): Promise<Body> => {
      const service = command.includes('/') ? '' : 'group_open_http_svc/';
      const response = await fetch(`${program.im}/v4/${service}${command}?${query}`, {
        method: 'POST',
        body: JSON.stringify(body),
      });
      return (await response.json()) as Body;
    };
    const link = async (identifier: string): Promise<TestLink> => {
      const made = createTestLink(`${program.im.replace('http', 'ws')}/im/v1/link`);
      t.teardown(() => made.socket.terminate());
      await once(made.socket, 'open');
      await made.ok('login', { sdkAppId, identifier, userSig: userSig(identifier), platform: 'Android' });
      return made;
    };

    const received = () =>
      backend.received.filter(({ command }) => command.startsWith('Group.')).map(({ body }) => body);
    let seen = 0;
    /** What the backend has got since, once all of it is there; commands without their prefix. */
    async function told(what: string, ...expected: [command: string, fields: Body][]): Promise<void> {
      const wanted = expected.map(([command, fields]) => ({ CallbackCommand: `Group.Callback${command}`, ...fields }));
      await until(() => received().length >= seen + wanted.length);
      const bodies = received().slice(seen);
      seen += wanted.length;
      // A time is one of now.
      const now = bodies.map((body) => ('MsgTime' in body ? { ...body, MsgTime: 0 } : body));
      t.strictSame(now, wanted, what);
    }
    const members = (...names: string[]) => names.map((Member_Account) => ({ Member_Account }));
    const text = (Text: string) => [{ MsgType: 'TIMTextElem', MsgContent: { Text } }];

    await call('im_open_login_svc/multiaccount_import', { Accounts: ['lin', 'mo', 'zed', 'kay'] });
    const [lin, mo, zed] = [await link('lin'), await link('mo'), await link('zed')];
    const club = { GroupId: 'club', Type: 'Public' };
    const byAdmin = { ...club, Operator_Account: 'admin' };

    const draft = { ...club, Name: 'Tea', Owner_Account: 'lin', MaxMemberCount: 3, MemberList: members('mo') };
    says.set('Group.CallbackBeforeCreateGroup', { ...yes, ErrorCode: 10_150, ErrorInfo: 'not on Sundays' });
    t.match(await call('create_group', draft), { ErrorCode: 10_150, ErrorInfo: 'not on Sundays' });
    const created = { Operator_Account: 'admin', Owner_Account: 'lin', Type: 'Public', Name: 'Tea' };
    const question = { ...created, CreatedNum: 0, MemberList: members('mo') };
    await told('a group that it refuses', ['BeforeCreateGroup', question]);
    const custom = [{ Key: 'Level', Value: '1' }];
    t.match(await call('create_group', { ...draft, AppDefinedData: custom }), yes);
    const made = { GroupId: 'club', ...created, MemberList: members('mo'), UserDefinedDataList: custom };
    await told('a group', ['BeforeCreateGroup', question], ['AfterCreateGroup', made]);

    says.set('Group.CallbackBeforeInviteJoinGroup', { ...yes, RefusedMembers_Account: ['kay', 'nobody'] });
    const added = await call('add_group_member', { GroupId: 'club', MemberList: members('kay', 'zed', 'mo') });
    t.strictSame(
      (added.MemberList as { Result: number }[]).map(({ Result }) => Result),
      [0, 1, 2],
    );
    const joined = { ...byAdmin, JoinType: 'Invited', NewMemberList: members('zed') };
    await told(
      'who is left out of an invitation, who joins, and that it is full now',
      ['BeforeInviteJoinGroup', { ...byAdmin, DestinationMembers: members('kay', 'zed', 'mo') }],
      ['AfterNewMemberJoin', joined],
      ['AfterGroupFull', { GroupId: 'club' }],
    );
    const kay = { ...byAdmin, DestinationMembers: members('kay') };
    t.match(await call('add_group_member', { GroupId: 'club', MemberList: members('kay') }), { ErrorCode: 10_014 });
    await told('nobody finds room', ['BeforeInviteJoinGroup', kay], ['AfterGroupFull', { GroupId: 'club' }]);
    says.set('Group.CallbackBeforeInviteJoinGroup', { ...yes, ErrorCode: 1 });
    t.match(await call('add_group_member', { GroupId: 'club', MemberList: members('kay') }), { ErrorCode: 10_016 });
    await told('an invitation that it refuses', ['BeforeInviteJoinGroup', kay]);

    const send = (Random: number, words: string) =>
      call('send_group_msg', { GroupId: 'club', From_Account: 'lin', Random, MsgBody: text(words) });
    const sending = { ...club, From_Account: 'lin', Operator_Account: 'admin' };
    const asking = (Random: number) => ({ ...sending, Random, MsgBody: text('hi'), OnlineOnlyFlag: 0 });
    says.set('Group.CallbackBeforeSendMsg', { ...yes, ErrorCode: 10_200, ErrorInfo: 'mind your words' });
    t.match(await send(1, 'hi'), { ErrorCode: 10_200, ErrorInfo: 'mind your words' });
    await told('a message that it refuses', ['BeforeSendMsg', asking(1)]);
    says.set('Group.CallbackBeforeSendMsg', { ...yes, ErrorCode: 2 });
    t.match(await send(2, 'hi'), { ...yes, MsgSeq: 0 });
    await told('a message that it drops', ['BeforeSendMsg', asking(2)]);
    says.set('Group.CallbackBeforeSendMsg', { ...yes, MsgBody: text('h*') });
    const { MsgSeq } = await send(3, 'hi');
    const stored = { ...sending, Random: 3, MsgSeq, MsgTime: 0, MsgBody: text('h*') };
    await told('a message that it rewrites', ['BeforeSendMsg', asking(3)], ['AfterSendMsg', stored]);

    t.match(
      await call('modify_group_base_info', {
        ...{ GroupId: 'club', Name: 'Tea club', Introduction: 'x', Notification: 'y', FaceUrl: 'z' },
        ...{ MaxMemberNum: 9, ShutUpAllMember: 'On', AppDefinedData: [{ Key: 'Level', Value: '' }] },
      }),
      yes,
    );
    const profile = { Name: 'Tea club', Introduction: 'x', Notification: 'y', FaceUrl: 'z' };
    const changed = { ...byAdmin, ...profile, UserDefinedDataList: [{ Key: 'Level', Value: '' }] };
    await told('a profile', ['AfterGroupInfoChanged', changed]);
    const silent = [
      ['modify_group_base_info', { GroupId: 'club', Name: 'Tea club', MaxMemberNum: 8, ShutUpAllMember: 'Off' }],
      ['modify_group_base_info', { GroupId: 'club', AppDefinedData: [{ Key: 'Room', Value: '1' }] }],
      ['modify_group_member_info', { GroupId: 'club', Member_Account: 'mo', Role: 'Admin', NameCard: 'Mo' }],
      ['forbid_send_msg', { GroupId: 'club', Members_Account: ['zed'], ShutUpTime: 60 }],
      ['send_group_system_notification', { GroupId: 'club', Content: 'x' }],
      ['delete_group_member', { GroupId: 'club', MemberToDel_Account: ['kay', 'ghost'] }],
    ] as const;
    for (const [command, body] of silent) t.match(await call(command, body), yes, `${command}: no callback`);

    t.match(await call('delete_group_member', { GroupId: 'club', MemberToDel_Account: ['zed', 'kay'] }), yes);
    const exits = (ExitType: string, who: string, by: string) => {
      return { ...club, ExitType, Operator_Account: by, ExitMemberList: members(who) };
    };
    await told('who is removed', ['AfterMemberExit', exits('Kicked', 'zed', 'admin')]);
    await mo.ok('quitGroup', { group: 'club' });
    await told('who quits', ['AfterMemberExit', exits('Quit', 'mo', 'mo')]);
    says.set('Group.CallbackBeforeApplyJoinGroup', { ...yes, ErrorCode: 10_100, ErrorInfo: 'pay first' });
    const application = { ...club, Requestor_Account: 'mo' };
    t.match(await mo.ask('applyToGroup', { group: 'club' }), { error: { code: 10_100, reason: 'pay first' } });
    t.match(await mo.ok('applyToGroup', { group: 'club' }), { result: 'waiting' });
    await told('applications', ['BeforeApplyJoinGroup', application], ['BeforeApplyJoinGroup', application]);
    const { requests } = await lin.ok('groupRequests');
    const [{ key, auth } = {}] = requests as Body[];
    await lin.ok('answerApplication', { group: 'club', key, auth, agrees: true });
    const accepted = { ...club, JoinType: 'Apply', Operator_Account: 'lin', NewMemberList: members('mo') };
    await told('who is accepted', ['AfterNewMemberJoin', accepted]);
    await lin.ok('inviteMembers', { group: 'club', accounts: ['zed'] });
    const invitation = { ...club, Operator_Account: 'lin', DestinationMembers: members('zed') };
    await told('an invitation over a link', ['BeforeInviteJoinGroup', invitation]);
    const asked = (await zed.ok('groupRequests')).requests as Body[];
    await zed.ok('answerInvitation', { group: 'club', key: asked[0]?.key, auth: asked[0]?.auth, agrees: true });
    const agreed = { ...club, JoinType: 'Invited', Operator_Account: 'lin', NewMemberList: members('zed') };
    await told('who agrees to it', ['AfterNewMemberJoin', agreed]);

    t.match(await call('change_group_owner', { GroupId: 'club', NewOwner_Account: 'mo' }), yes);
    const old = { GroupId: 'crew', Type: 'Private', Name: 'crew', Owner_Account: 'lin', CreateTime: 1_500_000_000 };
    t.match(await call('import_group', old), yes);
    t.match(await call('import_group_member', { GroupId: 'crew', MemberList: members('mo') }), yes);
    const words = { From_Account: 'lin', SendTime: 1_500_000_100, MsgBody: text('hi') };
    t.match(await call('import_group_msg', { GroupId: 'crew', MsgList: [words] }), yes);
    t.match(await call('destroy_group', { GroupId: 'club' }), yes);
    await until(() => received().length > seen);
    const last = received().at(-1) ?? {};
    last.MemberList = (last.MemberList as Body[]).toSorted((a, b) =>
      String(a.Member_Account) < String(b.Member_Account) ? -1 : 1,
    );
    const gone = { ...club, Owner_Account: 'mo', Name: 'Tea club', MemberList: members('lin', 'mo', 'zed') };
    await told('nothing of transfers and imports; a group that ends', ['AfterGroupDestroyed', gone]);
  },
);
