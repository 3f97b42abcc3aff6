import { type Device, drawDevice, drawProgram } from './devices.ts';
import { drawPlace, drawPlaceNear, Line, type Place } from './networks.ts';
import { Attachment, forge, type PlaybackRequest, play, poll, pull, type Watching } from './playback.ts';
import { Random } from './random.ts';
import { type AccessName, ANYWHERE, SCENARIO_NAMES, SCENARIOS, type Scenario, type ScenarioName } from './scenarios.ts';
import { drawTitle, SEGMENT_SECONDS, type Title } from './titles.ts';

/** After this long a player has renewed its token: another payload and signature, the same session id. */
const RENEWAL_SECONDS = 3000;
/** Lengths of header, payload and signature of a token with two paths and an address. */
const [HEADER, PAYLOAD, SIGNATURE] = [68, 247, 43];

/** When traffic is simulated; seconds since the epoch. */
export interface Period {
  from: number;
  to: number;
}

/** A playback session: what is known of it beforehand, and who asks for what. */
export interface Session {
  id: string;
  scenario: ScenarioName;
  /** What the logs can show of it: a leak that would begin after the period is none. */
  kind: Scenario['kind'];
  startedAt: number;
  /** When it began to be one; undefined when it is none. */
  leakFrom: number | undefined;
  /** The token in use at a time: of the right shape, but random; nothing verifies it. */
  token(time: number): string;
  /** The requests of each device or program, each in the order of time. */
  streams(): Generator<PlaybackRequest>[];
}

const WEIGHTS = SCENARIO_NAMES.map((name) => [name, SCENARIOS[name].share] as const);

function drawAccess(random: Random, weights: Partial<Record<AccessName, number>>): AccessName {
  return random.pickWeighted(Object.entries(weights) as [AccessName, number][]);
}

/** Somebody other than the first viewer: seconds from the start of the session to when they begin and end. */
interface Guest {
  from: number;
  until: number;
}

/** Session number `index` of the traffic of a seed. The same numbers give the same session. */
export function planSession(seed: number, index: number, period: Period): Session {
  const random = new Random(seed, index);
  const id = random.letters(12);
  const name = random.pickWeighted(WEIGHTS);
  const scenario: Scenario = SCENARIOS[name];
  const minutes = random.draw(scenario.minutes);
  // People who watch for long watch something long; a program takes whatever there is.
  const title = drawTitle(random, scenario.content, scenario.puller ? 0 : minutes);
  const speed = scenario.puller && title.kind === 'vod' ? random.draw(scenario.puller.speed) : undefined;
  const seconds = speed ? Math.min(minutes * 60, (title.segments * SEGMENT_SECONDS) / speed) : minutes * 60;
  const guests = scenario.others ? planGuests(random, scenario.others, seconds) : [];

  // It ends within the period when it fits at all.
  const ends = Math.max(seconds, ...guests.map(({ until }) => until));
  const start = period.from + random.fraction() * Math.max(0, period.to - period.from - ends);
  const leakFrom = start + Math.min(...(guests.length > 0 ? guests.map(({ from }) => from) : [0]));
  const isSeen = scenario.kind !== 'harmless' && leakFrom < period.to;

  return {
    id,
    scenario: name,
    kind: isSeen ? scenario.kind : 'harmless',
    startedAt: Math.floor(start),
    leakFrom: isSeen ? Math.floor(leakFrom) : undefined,
    token: tokens(id, seed, index, start),
    streams: () => streamsOf(new Random(seed, index, 1), scenario, { title, start, seconds, speed, guests }),
  };
}

function planGuests(random: Random, others: NonNullable<Scenario['others']>, seconds: number): Guest[] {
  const guests: Guest[] = [];
  let last = seconds;
  const count = Math.max(1, Math.round(random.draw(others.viewers)));
  for (let i = 0; i < count; i++) {
    const from = (others.joinAfter === 'end' ? last : 0) + random.draw(others.joinMinutes) * 60;
    const until = from + random.draw(others.minutes) * 60;
    last = until;
    guests.push({ from, until });
  }
  return guests;
}

function tokens(id: string, seed: number, index: number, start: number): Session['token'] {
  let number = -1;
  let token = '';
  return (time) => {
    const wanted = Math.max(0, Math.floor((time - start) / RENEWAL_SECONDS));
    if (wanted !== number) {
      number = wanted;
      const random = new Random(seed, index, 2, wanted);
      const part = (length: number) => `eyJ${random.base64url(length - 3)}`;
      token = `${id}.${part(HEADER)}.${part(PAYLOAD)}.${random.base64url(SIGNATURE)}`;
    }
    return token;
  };
}

interface Plan {
  title: Title;
  start: number;
  seconds: number;
  speed: number | undefined;
  guests: Guest[];
}

function streamsOf(random: Random, scenario: Scenario, plan: Plan): Generator<PlaybackRequest>[] {
  const { title, start, seconds, guests, speed } = plan;
  const place = drawPlace(random);
  const access = drawAccess(random, scenario.access);
  const line = new Line(random, access, place);
  const device = scenario.puller ? drawProgram(random) : drawDevice(random, scenario.cast ? 'phone' : undefined);
  const attachment = new Attachment(random.fork(), device, line);
  const first = viewer(random, scenario, attachment, line, place, title, start, start + seconds);
  // Some begin where they stopped another time; those who are joined begin at the beginning.
  if (!scenario.others && random.chance(0.2))
    first.segment = random.whole(0, Math.floor(first.title.segments / 3) || 0);

  if (scenario.puller && speed) {
    const { connections, segmentsAnExit } = scenario.puller;
    const count = Math.max(1, Math.round(random.draw(connections)));
    const all = [attachment, ...Array.from({ length: count - 1 }, () => new Attachment(random.fork(), device, line))];
    const segments = segmentsAnExit ? Math.max(5, Math.round(random.draw(segmentsAnExit))) : Number.POSITIVE_INFINITY;
    return [pull(first, speed, all, { segments, next: () => new Line(random, access, place) })];
  }
  if (scenario.cast) return casting(random, scenario.cast, first, line);
  const streams = [play(first)];
  for (const guest of guests) {
    streams.push(play(guestOf(random, scenario, { device, line, access, place, title }, start, guest)));
  }
  if (scenario.forgeriesPerMinute) {
    const strangers = Array.from({ length: random.whole(1, 20) }, () => {
      const from = drawPlace(random);
      return new Attachment(random.fork(), drawDevice(random), new Line(random, drawAccess(random, ANYWHERE), from));
    });
    streams.push(forge({ ...first, random: random.fork() }, random.draw(scenario.forgeriesPerMinute), strangers));
  }
  return streams;
}

function viewer(
  random: Random,
  scenario: Scenario,
  attachment: Attachment,
  line: Line,
  place: Place,
  title: Title,
  from: number,
  until: number,
): Watching {
  const own = random.fork();
  const { hops, secondAccess, habits } = scenario;
  return {
    random: own,
    title,
    from,
    until,
    attachment,
    habits,
    segment: 0,
    hops: hops && {
      plan: hops,
      next: (away) => (away ? new Line(own, drawAccess(own, hops.to), place) : line),
    },
    second:
      secondAccess === undefined
        ? undefined
        : {
            attachment: new Attachment(random.fork(), attachment.device, new Line(random, 'cellular', place)),
            share: random.draw(secondAccess),
          },
  };
}

function guestOf(
  random: Random,
  scenario: Scenario,
  host: { device: Device; line: Line; access: AccessName; place: Place; title: Title },
  start: number,
  guest: Guest,
): Watching {
  const { place: where, access = ANYWHERE, sameDevice } = scenario.others ?? { place: 'home', sameDevice: 0 };
  const device = random.chance(sameDevice) ? host.device : drawDevice(random);
  const place = where === 'anywhere' ? drawPlaceNear(random, host.place) : host.place;
  const name = where === 'anywhere' ? drawAccess(random, access) : host.access;
  const line = where === 'home' ? host.line : new Line(random, name, place, where === 'city' ? host.line : undefined);
  const attachment = new Attachment(random.fork(), device, line);
  return viewer(random, scenario, attachment, line, place, host.title, start + guest.from, start + guest.until);
}

function casting(
  random: Random,
  { afterMinutes, pollSeconds }: NonNullable<Scenario['cast']>,
  phone: Watching,
  line: Line,
): Generator<PlaybackRequest>[] {
  const from = phone.from + random.draw(afterMinutes) * 60;
  const segment = phone.segment + Math.floor((from - phone.from) / SEGMENT_SECONDS);
  const television = new Attachment(random.fork(), drawDevice(random, 'television'), line);
  const every = random.draw(pollSeconds);
  return [
    play({ ...phone, until: from }),
    play({ ...phone, random: random.fork(), attachment: television, from, segment }),
    // An attachment hands out its connections in the order of time, so the phone goes on with one of its own.
    poll(
      {
        ...phone,
        random: random.fork(),
        attachment: new Attachment(random.fork(), phone.attachment.device, line),
        from,
      },
      every,
    ),
  ];
}
