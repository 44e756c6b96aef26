import { Command, Option } from 'commander';
import {
  type CampaignAdmin,
  type CampaignChange,
  type CampaignPushes,
  type CampaignView,
  campaignQueryFields,
  campaignStates,
  createCampaignAdmin,
  parseCampaignQuery,
} from '../../im/index.ts';
import { auditTarget } from '../../observe/index.ts';
import type { AppSettings, ControlBus } from '../../store/index.ts';
import { audited } from '../command-audit.ts';
import {
  actorOf,
  type CallbacksOptions,
  doneOrFail,
  given,
  readOrFail,
  table,
  toJson,
  withApp,
  withPage,
} from './callbacks-store.ts';
import { appOf } from './callbacks-test.ts';
import { CliError } from './cli-error.ts';
import { type CliContext, loadOrFail } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { withStore } from './open-store.ts';
import { indented, printable } from './printable.ts';

/** `qalgate push campaigns list|show|pause|resume|cancel`: pushes to many, as operators see and change them. */
export function pushCampaignsCommand(context: CliContext): Command {
  const command = new Command('campaigns').description(
    'Pushes to many (im_push): how far they are; pause, resume and cancel them.',
  );
  command.addCommand(listCommand(context), { isDefault: true });
  command.addCommand(showCommand(context));
  const changes: [CampaignChange, string][] = [
    ['pause', 'Send no more of a campaign until it is resumed. Pushes that wait already wait on, and may expire.'],
    ['resume', 'Have a campaign that was paused go on behind its last receiver.'],
    ['cancel', 'End a campaign for good. Who has the message keeps it; pushes that wait are not sent any more.'],
  ];
  for (const [change, description] of changes) command.addCommand(changeCommand(context, change, description));
  return command;
}

async function withCampaigns(
  context: CliContext,
  options: CallbacksOptions,
  work: (campaigns: { admin: CampaignAdmin; app: AppSettings; bus: ControlBus }) => Promise<void>,
): Promise<void> {
  const loaded = loadOrFail(context, options);
  await withStore(context, loaded, options, async (store) => {
    const app = await appOf(loaded, store, options.app);
    await work({ admin: createCampaignAdmin({ db: store.db, clock: Date.now }), app, bus: store.bus });
  });
}

function listCommand(context: CliContext): Command {
  return withPage(
    withApp(new Command('list')).addOption(new Option('--state <state>', 'only those').choices(campaignStates)),
  )
    .description('Campaigns, the newest first. What is sent is never shown.')
    .addHelpText(
      'after',
      `
Examples:
  $ qalgate push campaigns --app 1400000000
  $ qalgate push campaigns list --app 1400000000 --state running`,
    )
    .action(async (options: CallbacksOptions) => {
      const query = readOrFail(parseCampaignQuery(given(options, campaignQueryFields)));
      await withCampaigns(context, options, async ({ admin, app }) => {
        const { campaigns, next } = await admin.list(app.sdkAppId, query);
        if (options.json) return context.print(toJson({ campaigns, next: next ?? null }));
        context.print(campaigns.length === 0 ? 'no campaigns' : formatCampaigns(campaigns));
        if (next !== undefined) context.print(`more: --after ${next}`);
      });
    });
}

/** With what names a campaign. */
function withCampaign(command: Command): Command {
  return withApp(command).argument('<campaign>', 'its number, or the TaskId that im_push answered');
}

function showCommand(context: CliContext): Command {
  return withCampaign(new Command('show'))
    .description('One campaign: to whom it goes, how far it is, and what became of its pushes.')
    .addHelpText('after', '\nExample:\n  $ qalgate push campaigns show 17 --app 1400000000')
    .action(async (name: string, options: CallbacksOptions) => {
      await withCampaigns(context, options, async ({ admin, app }) => {
        const campaign = (await admin.read(app.sdkAppId, name)) ?? fail(app, name);
        context.print(options.json ? toJson({ campaign }) : formatCampaign(campaign));
      });
    });
}

function changeCommand(context: CliContext, change: CampaignChange, description: string): Command {
  return withCampaign(new Command(change))
    .description(description)
    .addHelpText('after', `\nExample:\n  $ qalgate push campaigns ${change} 17 --app 1400000000`)
    .action(async (name: string, options: CallbacksOptions) => {
      await withCampaigns(context, options, async ({ admin, app, bus }) => {
        const actor = actorOf(context);
        const target = auditTarget([app.sdkAppId, `${change} ${name}`]);
        const campaign = await audited(bus, { actor, command: 'ops.campaign.write', target }, async () =>
          doneOrFail((await admin.change(app.sdkAppId, name, change, actor)) ?? fail(app, name)),
        );
        const text = `campaign ${campaign.id} is ${campaign.state}: ${progressOf(campaign)}`;
        context.print(options.json ? toJson({ campaign }) : text);
      });
    });
}

function fail({ sdkAppId }: AppSettings, name: string): never {
  throw new CliError(exitCodes.failed, `app ${sdkAppId} has no push to many ${printable(name.slice(0, 100))}`);
}

/** Pure. */
export function formatCampaigns(campaigns: readonly CampaignView[]): string {
  const rows = campaigns.map((campaign) => [
    String(campaign.id),
    campaign.createdAt,
    campaign.state,
    progressOf(campaign),
    campaign.from,
    audienceOf(campaign),
  ]);
  return printable(table([['CAMPAIGN', 'ASKED FOR', 'STATE', 'RECEIVERS', 'FROM', 'TO'], ...rows]));
}

/** Pure. */
export function formatCampaign(campaign: CampaignView & { pushes: CampaignPushes }): string {
  const { id, taskId, state, admin, from, lifetimeSec, createdAt, startedAt, endedAt, actor, pushes } = campaign;
  const { queued, accepted, opened, others } = pushes;
  const lines = [
    `campaign ${id}, ${taskId}`,
    `state: ${state}`,
    ...(actor === null ? [] : [`changed: ${actor}`]),
    `receivers: ${progressOf(campaign)}`,
    `from: ${from}, sent by ${admin}`,
    `to: ${audienceOf(campaign)}`,
    lifetimeSec === 0
      ? 'kept: not at all, it is for those who are online'
      : `kept: ${lifetimeSec} s for whoever is away`,
    `times: asked for ${createdAt}${startedAt === null ? '' : `, begun ${startedAt}`}${endedAt === null ? '' : `, ended ${endedAt}`}`,
    `pushes: ${queued} waiting, ${accepted} accepted, ${opened} opened`,
    ...(others.length === 0
      ? []
      : [indented(table(others.map(({ outcome, reason, count }) => [String(count), outcome, reason])))]),
  ];
  return printable(lines.join('\n'));
}

function progressOf({ finished, total }: CampaignView): string {
  return `${finished} of ${total}`;
}

function audienceOf({ condition }: CampaignView): string {
  return condition === null ? 'everybody' : JSON.stringify(condition);
}
