import t from 'tap';
import { c2cSendFields, groupSendFields, optPlatformOf } from '../../src/wire/index.ts';

const message = {
  from: 'lin',
  to: 'mo',
  msgSeq: 12,
  random: 771231,
  time: 1_795_391_081,
  body: [{ MsgType: 'TIMTextElem', MsgContent: { Text: 'hi' } }],
  isOnlineOnly: false,
};

t.test('[M12] what the callbacks of a one-to-one message say', async (t) => {
  const fields = {
    From_Account: 'lin',
    To_Account: 'mo',
    MsgSeq: 12,
    MsgRandom: 771231,
    MsgTime: 1_795_391_081,
    MsgKey: '12_771231_1795391081',
    OnlineOnlyFlag: 0,
    MsgBody: message.body,
  };
  t.strictSame(c2cSendFields(message), fields);
  t.strictSame(c2cSendFields({ ...message, custom: undefined }), fields, 'no CloudCustomData where there is none');
  t.strictSame(c2cSendFields({ ...message, custom: '', isOnlineOnly: true }), {
    ...fields,
    OnlineOnlyFlag: 1,
    CloudCustomData: '',
  });
});

t.test('[K1][K3] what the callbacks of a group message say', async (t) => {
  const { from, random, body, time } = message;
  const facts = { groupId: '@TGS#1', type: 'Public', from, operator: 'admin', random, body };
  const fields = {
    GroupId: '@TGS#1',
    Type: 'Public',
    From_Account: 'lin',
    Operator_Account: 'admin',
    Random: 771231,
    MsgBody: body,
  };
  t.strictSame(groupSendFields(facts), fields, 'before it is stored it has neither number nor time');
  t.strictSame(groupSendFields({ ...facts, stored: { seq: 3, time } }), { ...fields, MsgSeq: 3, MsgTime: time });
});

t.test('kinds of terminals by the names of callbacks', async (t) => {
  for (const platform of ['iOS', 'Android', 'Web', 'Windows', 'Mac', 'Linux'])
    t.equal(optPlatformOf(platform), platform);
  t.equal(optPlatformOf('iPad'), 'IPad');
  for (const other of ['', 'Symbian', 'constructor', '__proto__']) t.equal(optPlatformOf(other), 'Unkown');
});
