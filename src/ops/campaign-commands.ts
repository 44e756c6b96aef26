import { type CampaignAdmin, parseCampaignQuery } from '../im/index.ts';
import type { AppStore, Refusal, Result } from '../store/index.ts';
import type { Answer, Handle } from './answer.ts';
import { findApp } from './app-lookup.ts';
import type { Asking } from './database-away.ts';

export interface CampaignCommandDeps {
  apps: AppStore;
  campaignAdmin: CampaignAdmin;
  asking: Asking;
}

export interface CampaignCommands {
  list: Handle;
  read: Handle;
  dryRun: Handle;
  pause: Handle;
  resume: Handle;
  cancel: Handle;
}

/** What operators see and do of pushes to many (O1, O2): never what is sent. */
export function createCampaignCommands({ apps, campaignAdmin, asking }: CampaignCommandDeps): CampaignCommands {
  const ok = (body: object): Result<Answer> => ({ ok: true, value: { status: 200, body } });

  function change(what: 'pause' | 'resume' | 'cancel'): Handle {
    return asking(async ({ sdkAppId, params: { id = '' }, actor }) => {
      const found = await findApp(apps, sdkAppId);
      if (!found.ok) return found;
      const changed = await campaignAdmin.change(found.value.settings.sdkAppId, id, what, actor);
      if (changed === undefined) return noCampaign(sdkAppId, id);
      return changed.ok ? ok({ campaign: changed.value }) : changed;
    });
  }

  return {
    list: asking(async ({ sdkAppId, query }) => {
      const found = await findApp(apps, sdkAppId);
      if (!found.ok) return found;
      const wanted = parseCampaignQuery(query as Record<string, unknown>);
      if (!wanted.ok) return wanted;
      const { campaigns, next } = await campaignAdmin.list(found.value.settings.sdkAppId, wanted.value);
      return ok({ campaigns, next: next ?? null });
    }),

    read: asking(async ({ sdkAppId, params: { id = '' } }) => {
      const found = await findApp(apps, sdkAppId);
      if (!found.ok) return found;
      const campaign = await campaignAdmin.read(found.value.settings.sdkAppId, id);
      return campaign === undefined ? noCampaign(sdkAppId, id) : ok({ campaign });
    }),

    dryRun: asking(async ({ sdkAppId, body }) => {
      const found = await findApp(apps, sdkAppId);
      if (!found.ok) return found;
      const order = readOrder(body);
      if (!order.ok) return order;
      const counted = await campaignAdmin.dryRun(found.value.settings, order.value);
      return counted.ok ? ok(counted.value) : counted;
    }),

    pause: change('pause'),
    resume: change('resume'),
    cancel: change('cancel'),
  };
}

function readOrder(body: unknown): Result<{ condition: unknown; isOnline: boolean }> {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return { ok: false, code: 'BAD_REQUEST', reason: 'the body must be a JSON object' };
  }
  const { condition, isOnline = false, ...others } = body as Record<string, unknown>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) return wrong(unknown.slice(0, 40), 'is no field', 'condition, isOnline');
  if (typeof isOnline !== 'boolean') return wrong('isOnline', 'must be true or false');
  return { ok: true, value: { condition, isOnline } };
}

function wrong(field: string, reason: string, allowed?: string): Refusal {
  return { ok: false, code: 'INVALID_FIELD', field, reason, ...(allowed === undefined ? {} : { allowed }) };
}

function noCampaign(sdkAppId: string, id: string): Refusal {
  return { ok: false, code: 'NOT_FOUND', reason: `app ${sdkAppId} has no push to many ${id.slice(0, 100)}` };
}

/** On what a change acts, for the audit: `pause 17`. */
export function changedCampaign(params: unknown, path: string): string[] {
  const id = typeof params === 'object' && params !== null && 'id' in params ? String(params.id).slice(0, 100) : '';
  const [, change = ''] = /\/([a-z-]+)(\?|$)/.exec(path) ?? [];
  return [[change, id].filter((part) => part !== '').join(' ')];
}
