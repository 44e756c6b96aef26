/** What every sender sends: pushes for devices by number, each with a body and a name of its own. */

export const topic = 'com.example.chat';

export interface BenchPush {
  token: string;
  collapseId: string;
  payload: { aps: object; ext: string };
}

export function pushOf(device: number): BenchPush {
  return {
    token: device.toString(16).padStart(64, '0'),
    collapseId: `m-${device}`,
    payload: {
      aps: {
        alert: 'Zhang San(Product talks): the meeting is at three today, in the large room on the second floor',
        badge: device % 100,
        sound: 'default',
        'thread-id': '@TGS#2J4SZEAEL',
        'mutable-content': 1,
      },
      ext: '{"conversation":"@TGS#2J4SZEAEL","kind":"group"}',
    },
  };
}
