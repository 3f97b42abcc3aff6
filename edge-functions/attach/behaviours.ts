import type { CacheBehavior, DefaultCacheBehavior, DistributionConfig } from '@aws-sdk/client-cloudfront';
import * as v from 'valibot';
import { AttachError } from './attach-error.ts';

/** A cache behaviour, the default one too. */
export type Behaviour = CacheBehavior | DefaultCacheBehavior;

/** What the default behaviour is called here; CloudFront shows it so too. */
export const DEFAULT_PATTERN = '*';

/** What attaching may change of a behaviour: ids of policies and the ARN of the viewer-request function; null where there is none. */
export const AttachedSettingsSchema = v.strictObject({
  viewerRequest: v.nullable(v.string()),
  originRequestPolicy: v.nullable(v.string()),
  cachePolicy: v.nullable(v.string()),
  responseHeadersPolicy: v.nullable(v.string()),
});
export type AttachedSettings = v.InferOutput<typeof AttachedSettingsSchema>;
export type SettingName = keyof AttachedSettings;
export const SETTING_NAMES = Object.keys(AttachedSettingsSchema.entries) as SettingName[];

/** The behaviours of a distribution by path pattern, the default one last, in the order in which CloudFront matches them. */
export function behavioursOf(config: DistributionConfig): Map<string, Behaviour> {
  const named = (config.CacheBehaviors?.Items ?? []).map((item): [string, Behaviour] => [item.PathPattern ?? '', item]);
  const last: [string, Behaviour][] = config.DefaultCacheBehavior
    ? [[DEFAULT_PATTERN, config.DefaultCacheBehavior]]
    : [];
  return new Map([...named, ...last]);
}

/** Those of these patterns; the default one for none. Throws `ERR_ATTACH_MISSING`. */
export function selected(config: DistributionConfig, patterns: string[]): Map<string, Behaviour> {
  const all = behavioursOf(config);
  const wanted = patterns.length > 0 ? patterns : [DEFAULT_PATTERN];
  const unknown = wanted.find((pattern) => !all.has(pattern));
  if (unknown !== undefined) {
    const there = [...all.keys()].map((pattern) => `'${pattern}'`).join(', ');
    throw new AttachError('ERR_ATTACH_MISSING', `there is no behaviour '${unknown}'; there are ${there}`);
  }
  return new Map([...all].filter(([pattern]) => wanted.includes(pattern)));
}

/** What a behaviour has now. */
export function settingsOf(behaviour: Behaviour): AttachedSettings {
  const associations = behaviour.FunctionAssociations?.Items ?? [];
  return {
    viewerRequest: associations.find(({ EventType }) => EventType === 'viewer-request')?.FunctionARN ?? null,
    originRequestPolicy: behaviour.OriginRequestPolicyId || null,
    cachePolicy: behaviour.CachePolicyId || null,
    responseHeadersPolicy: behaviour.ResponseHeadersPolicyId || null,
  };
}

/** The configuration with these settings at some patterns, and everything else as it was. */
export function withSettings(config: DistributionConfig, wanted: Map<string, AttachedSettings>): DistributionConfig {
  const changed = <B extends Behaviour>(behaviour: B, pattern: string): B => {
    const settings = wanted.get(pattern);
    return settings ? changedBehaviour(behaviour, settings) : behaviour;
  };
  const items = config.CacheBehaviors?.Items;
  return {
    ...config,
    DefaultCacheBehavior: config.DefaultCacheBehavior && changed(config.DefaultCacheBehavior, DEFAULT_PATTERN),
    ...(items && {
      CacheBehaviors: {
        ...config.CacheBehaviors,
        Quantity: items.length,
        Items: items.map((b) => changed(b, b.PathPattern ?? '')),
      },
    }),
  };
}

function changedBehaviour<B extends Behaviour>(behaviour: B, settings: AttachedSettings): B {
  const others = (behaviour.FunctionAssociations?.Items ?? []).filter(
    ({ EventType }) => EventType !== 'viewer-request',
  );
  const ours = settings.viewerRequest
    ? [{ EventType: 'viewer-request' as const, FunctionARN: settings.viewerRequest }]
    : [];
  const Items = [...others, ...ours];
  return {
    ...behaviour,
    FunctionAssociations: { Quantity: Items.length, ...(Items.length > 0 && { Items }) },
    OriginRequestPolicyId: settings.originRequestPolicy ?? undefined,
    CachePolicyId: settings.cachePolicy ?? undefined,
    ResponseHeadersPolicyId: settings.responseHeadersPolicy ?? undefined,
  };
}

/** Why the function cannot work at this behaviour, whatever else is done: all of the reasons. */
export function obstacles(behaviour: Behaviour): string[] {
  const found: string[] = [];
  // A behaviour takes either kind of function at viewer events (AWS, "Restrictions on edge functions").
  for (const { EventType, LambdaFunctionARN } of behaviour.LambdaFunctionAssociations?.Items ?? []) {
    if (EventType !== 'viewer-request' && EventType !== 'viewer-response') continue;
    const [, name = LambdaFunctionARN] = /:function:([^:]+)/.exec(LambdaFunctionARN ?? '') ?? [];
    const advice = 'move what it does to an origin event, or into a CloudFront function';
    found.push(`Lambda@Edge '${name}' at ${EventType} shuts out CloudFront functions: ${advice}`);
  }
  if (behaviour.TrustedSigners?.Enabled || behaviour.TrustedKeyGroups?.Enabled) {
    const advice = 'take its trusted signers and key groups out when all URLs carry tokens';
    found.push(`it demands signed URLs or cookies, which are checked before any function: ${advice}`);
  }
  if (!behaviour.CachePolicyId) {
    const advice = 'give it a cache policy and an origin request policy first';
    found.push(`it has legacy cache settings, which policies cannot be added to: ${advice}`);
  }
  return found;
}

/** What people should know of a behaviour before the function is attached to it. */
export function remarks(behaviour: Behaviour): string[] {
  const found: string[] = [];
  if (behaviour.ViewerProtocolPolicy !== 'https-only') {
    found.push('it takes HTTP too: tokens go over the wire in clear; https-only is better');
  }
  if (!behaviour.AllowedMethods?.Items?.includes('OPTIONS')) {
    found.push('it refuses OPTIONS: players that ask before a request (CORS preflight) get 403 and no denial reason');
  }
  if (behaviour.RealtimeLogConfigArn) found.push('its real-time logs may hold tokens: see docs/access-logs.md');
  return found;
}
