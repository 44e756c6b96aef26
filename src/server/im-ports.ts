import type { Callbacks } from '../callbacks/index.ts';
import type { ImPorts } from '../im/index.ts';
import type { Devices, Push } from '../push/index.ts';
import { type AfterCommand, c2cSendFields, messageKey } from '../wire/index.ts';

/** Commands of messages that are stored: those are pushed. */
const pushed: readonly AfterCommand[] = ['C2C.CallbackAfterSendMsg', 'Group.CallbackAfterSendMsg'];

/**
 * Plugs callbacks and pushes into the messaging core, none of which knows the others. Bit 1 of consumers is callbacks', bit 2 pushes'.
 */
export function imPorts(
  callbacks: Pick<Callbacks, 'before' | 'wants' | 'written'>,
  push: Pick<Push, 'wants' | 'written'>,
  devices: Devices,
): ImPorts {
  const { before, wants, written } = callbacks;
  return {
    beforeSend: {
      wants: (sdkAppId) => before.wants(sdkAppId, 'C2C.CallbackBeforeSendMsg'),
      async ask({ from, to, origin, ...message }) {
        const names = { from: from.identifier, to: to.identifier };
        const decision = await before.ask({
          sdkAppId: from.sdkAppId,
          command: 'C2C.CallbackBeforeSendMsg',
          fields: c2cSendFields({ ...message, ...names }),
          origin,
          about: { ...names, messageKey: messageKey(message) },
        });
        switch (decision.kind) {
          case 'allow':
            return {
              kind: 'allow',
              outcome: decision.outcome,
              ...(decision.body === undefined ? {} : { body: decision.body }),
            };
          case 'refuse':
            return { kind: 'refuse', code: decision.code, reason: decision.reason };
          case 'drop':
            // Of one-to-one messages none is dropped (API §10.2): there is no such answer to this command.
            return { kind: 'allow', outcome: decision.outcome };
        }
      },
    },
    beforeGroup: {
      wants: before.wants,
      async ask({ sdkAppId, command, fields, origin, groupId, from, messageKey: key }) {
        const about = {
          from,
          ...(groupId === undefined ? {} : { groupId }),
          ...(key === undefined ? {} : { messageKey: key }),
        };
        const decision = await before.ask({ sdkAppId, command, fields, origin, about });
        switch (decision.kind) {
          case 'allow': {
            const { outcome, body, refusedMembers } = decision;
            return {
              kind: 'allow',
              outcome,
              ...(body === undefined ? {} : { body }),
              ...(refusedMembers === undefined ? {} : { refusedMembers }),
            };
          }
          case 'refuse':
            return { kind: 'refuse', code: decision.code, reason: decision.reason };
          case 'drop':
            return { kind: 'drop' };
        }
      },
    },
    consumers: (sdkAppId, command) =>
      (wants(sdkAppId, command) ? 1 : 0) | (pushed.includes(command) && push.wants(sdkAppId) ? 2 : 0),
    written(sdkAppId, drainKey, command) {
      written(sdkAppId, drainKey, command);
      if (pushed.includes(command)) push.written();
    },
    devices,
  };
}
