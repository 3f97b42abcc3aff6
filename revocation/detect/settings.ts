import * as v from 'valibot';
import { SESSION_ID } from '../../token/index.ts';
import { SIGNAL_NAMES, SIGNALS, type SignalName } from './signals.ts';

const finite = v.pipe(v.number(), v.finite());
const whole = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
const score = v.pipe(finite, v.minValue(1), v.maxValue(100));

function weight(name: SignalName) {
  const { from, to, points } = SIGNALS[name];
  return v.optional(
    v.pipe(
      v.strictObject({
        from: v.optional(finite, from),
        to: v.optional(finite, to),
        points: v.optional(v.pipe(finite, v.minValue(0), v.maxValue(100)), points),
      }),
      v.check((row) => row.from < row.to, 'from must be below to'),
    ),
    {},
  );
}

type Weight = ReturnType<typeof weight>;

/** Operators of hosting, cloud and VPN services, from whose networks few people watch. Private relays are not among them. */
const HOSTING_ASNS = [
  '16509', // Amazon
  '14618', // Amazon
  '8075', // Microsoft
  '396982', // Google Cloud
  '14061', // DigitalOcean
  '16276', // OVH
  '24940', // Hetzner
  '63949', // Akamai Connected Cloud (Linode)
  '20473', // Vultr
  '60781', // Leaseweb NL
  '28753', // Leaseweb DE
  '9009', // M247
  '212238', // Datacamp
  '60068', // Datacamp
  '51167', // Contabo
  '12876', // Scaleway
  '31898', // Oracle
  '45102', // Alibaba
  '132203', // Tencent
  '62240', // Clouvider
];

/** Whether this compiles as a regular expression with a group; strictly (`u`), as engines differ on what is tolerated. */
function hasGroup(pattern: string): boolean {
  try {
    return (new RegExp(`${pattern}|`, 'u').exec('')?.length ?? 0) > 1;
  } catch {
    return false;
  }
}

/** What can be configured of detection. */
export const DetectionSettingsSchema = v.pipe(
  v.strictObject({
    /** `off`: no runs. `log`: suspicious sessions are recorded. `enforce`: those above `autoScore` are revoked too. */
    mode: v.optional(v.picklist(['off', 'log', 'enforce']), 'log'),
    /** How often detection runs on this machine, in seconds. */
    everySeconds: v.optional(whole(10, 86400), 60),
    /**
     * How many hours before the one of a new log object are looked at together with it. What sends a channel on all day, or
     * watches a title again later, shows in hours only.
     */
    lookbackHours: v.optional(whole(0, 48), 5),
    /** Score from which on a session is shown to people. */
    reviewScore: v.optional(score, 21),
    /** Score from which on a session is revoked without asking anybody. */
    autoScore: v.optional(score, 56),
    /** Share of the sessions in the window that may be revoked within an hour, five at least unless 0. Above it none is. */
    maxAutoShare: v.optional(v.pipe(finite, v.minValue(0), v.maxValue(1)), 0.01),
    /** What is never revoked by detection. */
    allow: v.optional(
      v.strictObject({
        sessions: v.optional(v.array(v.pipe(v.string(), v.regex(SESSION_ID, 'must be a session id'))), []),
        /** Titles: first segments of the path behind the token. */
        titles: v.optional(v.array(v.string()), []),
      }),
      {},
    ),
    /**
     * What becomes of sessions to be revoked when the logs have no `viewer-request-log-data`, so that nothing tells requests with
     * a signed token from others where the edge mode is `off` or `log`: people look at them, or they are revoked all the same.
     */
    unprovenLogs: v.optional(v.picklist(['review', 'revoke']), 'review'),
    /** Regular expression (RE2 syntax) whose first group is the number of a media segment in its path. */
    segmentPattern: v.optional(
      v.pipe(
        v.string(),
        v.minLength(1),
        v.maxLength(200),
        v.regex(/^[^'\p{Cc}]*$/u, 'must hold no quote and no control character'),
        v.check(hasGroup, 'must be a regular expression with a group in parentheses: the number of the segment'),
        v.check(
          (pattern) => !/\(\?[^:]|\\[1-9]/.test(pattern),
          'must have no look-ahead, back-reference or flag: RE2 has none',
        ),
      ),
      // A part (low-latency HLS) counts as its segment: `segment-1001.2.m4s` is of 1001.
      '([0-9]+)(?:[.][0-9]{1,2})?[.](?:m4s|ts|mp4|m4v|m4a|aac|cmfv|cmfa)$',
    ),
    /** Duration of a media segment, in seconds. */
    segmentSeconds: v.optional(v.pipe(finite, v.minValue(0.1), v.maxValue(60)), 4),
    /** Autonomous system numbers of hosting and VPN services. */
    hostingAsns: v.optional(
      v.array(v.pipe(v.string(), v.regex(/^[0-9]{1,10}$/, 'must be a number, as text'))),
      HOSTING_ASNS,
    ),
    /** What each signal adds to the score. */
    weights: v.optional(
      v.strictObject(
        Object.fromEntries(SIGNAL_NAMES.map((name) => [name, weight(name)])) as Record<SignalName, Weight>,
      ),
      {},
    ),
  }),
  v.check(({ reviewScore, autoScore }) => reviewScore <= autoScore, 'reviewScore must not be above autoScore'),
);

export type DetectionSettings = v.InferOutput<typeof DetectionSettingsSchema>;
