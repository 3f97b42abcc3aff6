import type { Draw } from './random.ts';

/**
 * What is simulated. These numbers were fixed before the weights of detection were tuned, and stay as they are: results on
 * them are comparable only as long as nothing here moves. Where no source is named, the number is an assumption.
 *
 * Sources
 * [rfc6888]  RFC 6888 REQ-2: a carrier-grade NAT should keep a subscriber on one external address ("paired"), many do not.
 * [rfc7422]  RFC 7422 §2: several hundred subscribers and more on one address, ports given by connection or in blocks.
 * [relay]    Apple, "Prepare your network or web server for iCloud Private Relay": egress addresses of partners (Akamai,
 *            Cloudflare, Fastly), shared by people of the same area, true to country and coarse city.
 * [conviva]  Conviva, State of Streaming Q4 2020: 28.7 minutes a play on a television set, 8.6 on a phone; nScreenMedia
 *            with Conviva, 2018: 77 minutes a session on connected televisions, half of it on computers.
 * [rfc8305]  RFC 8305, Happy Eyeballs: IPv6 first, IPv4 when it is slow; a new race for each connection.
 * [rfc8216]  RFC 8216 §6.3.4 and draft-pantos-hls-rfc8216bis §6.2.5.2: when playlists are loaded again, blocking reloads.
 * [speed]    YouTube, August 2022: of those who change the playback speed 85 % go faster, 1.5 most often, then 2 and 1.25.
 * [vpn]      MaxMind, 2015, after GlobalWebIndex: 29 % of VPN users watched Netflix over one in a month.
 * [proxies]  CDSA Content Protection Summit 2022: residential addresses are rented to go around blocks of VPNs.
 */

/** What people watch: weights. */
export interface Content {
  vod: number;
  live: number;
  lowLatency: number;
}

/** What a viewer does beside watching; per hour of watching where it says so. */
export interface Habits {
  pausesPerHour: number;
  pauseMinutes: Draw;
  seeksPerHour: number;
  /** How far a jump goes, in minutes of media; most go back. */
  seekMinutes: Draw;
  backwards: number;
  reloadsPerHour: number;
  /** Changes of rendition. */
  switchesPerHour: number;
  /** Share of segments that are asked for twice, because the first answer did not arrive. */
  retries: number;
  /** Playback speed. */
  speed: Draw;
}

/** How an access to the Internet looks from outside. */
export interface Access {
  /** Whose addresses are seen. */
  operators: 'fixed' | 'mobile' | 'office' | 'relay' | 'vpn' | 'hosting';
  /** Whether the operator is one of the viewer's country. */
  inCountry: boolean;
  /** IPv4 addresses that a connection may leave from, and the /24 networks that they lie in. */
  addresses: Draw;
  networks: Draw;
  /** Share of viewers who have IPv6 too, and of their connections that use it. */
  ipv6: number;
  ipv6Used: number;
  /** Share of connections that leave through another operator of the same sort. */
  otherOperator: number;
  /** Share of connections that end at an edge location of a neighbouring city. */
  otherCity: number;
  /** How long a connection is used; then the next one gets an address again. */
  connectionMinutes: Draw;
  /** Connections that a player has open at the same time, each of which may have another address. */
  connections: Draw;
}

export type AccessName = 'home' | 'cellular' | 'cgnat' | 'relay' | 'office' | 'vpn' | 'hosting' | 'proxies';

const LONG: Draw = { median: 40, p90: 240, most: 1440 };

export const ACCESS: Record<AccessName, Access> = {
  // [rfc8305]: mostly IPv6 where there is any; an address of its own for as long as a session lasts.
  home: {
    operators: 'fixed',
    inCountry: true,
    addresses: 1,
    networks: 1,
    ipv6: 0.6,
    ipv6Used: 0.85,
    otherOperator: 0,
    otherCity: 0.02,
    connectionMinutes: LONG,
    connections: 1,
  },
  // Behind a carrier-grade NAT of the mobile operator, which mostly pairs [rfc6888].
  cellular: {
    operators: 'mobile',
    inCountry: true,
    addresses: { from: 1, to: 2.5 },
    networks: { from: 1, to: 2.2 },
    ipv6: 0.6,
    ipv6Used: 0.9,
    otherOperator: 0,
    otherCity: 0.05,
    connectionMinutes: { median: 12, p90: 60, most: 240 },
    connections: 1,
  },
  // One that does not pair [rfc6888], [rfc7422]: another address for each connection, in one or more /24 networks.
  cgnat: {
    operators: 'fixed',
    inCountry: true,
    addresses: { from: 2, to: 12 },
    networks: { from: 1, to: 5 },
    ipv6: 0.1,
    ipv6Used: 0.8,
    otherOperator: 0,
    otherCity: 0.02,
    connectionMinutes: { median: 5, p90: 25, most: 120 },
    connections: { from: 1, to: 3.4 },
  },
  // [relay]: a pool of addresses for each area, of more than one partner.
  relay: {
    operators: 'relay',
    inCountry: true,
    addresses: { from: 3, to: 16 },
    networks: { from: 2, to: 8 },
    ipv6: 0.5,
    ipv6Used: 0.7,
    otherOperator: 0.15,
    otherCity: 0.1,
    connectionMinutes: { median: 8, p90: 40, most: 120 },
    connections: { from: 1, to: 2.4 },
  },
  office: {
    operators: 'office',
    inCountry: true,
    addresses: { from: 1, to: 2.4 },
    networks: 1,
    ipv6: 0,
    ipv6Used: 0,
    otherOperator: 0,
    otherCity: 0.02,
    connectionMinutes: LONG,
    connections: { from: 1, to: 2.4 },
  },
  // One exit; which it is changes when somebody connects again.
  vpn: {
    operators: 'vpn',
    inCountry: false,
    addresses: 1,
    networks: 1,
    ipv6: 0,
    ipv6Used: 0,
    otherOperator: 0,
    otherCity: 0.02,
    connectionMinutes: LONG,
    connections: 1,
  },
  hosting: {
    operators: 'hosting',
    inCountry: false,
    addresses: 1,
    networks: 1,
    ipv6: 0.3,
    ipv6Used: 0.9,
    otherOperator: 0,
    otherCity: 0.01,
    connectionMinutes: LONG,
    connections: 1,
  },
  // [proxies]: an exit in somebody's home, kept for minutes ("sticky sessions"), then another.
  proxies: {
    operators: 'fixed',
    inCountry: true,
    addresses: { from: 30, to: 400 },
    networks: { from: 30, to: 400 },
    ipv6: 0,
    ipv6Used: 0,
    otherOperator: 0.7,
    otherCity: 0.5,
    connectionMinutes: { median: 8, p90: 25, most: 60 },
    connections: 1,
  },
};

/** Others who use the URL of the first viewer. */
interface Others {
  /** How many others, at least one. */
  viewers: Draw;
  /** When each begins: minutes after the session began, or after the first viewer ended. */
  joinMinutes: Draw;
  joinAfter: 'start' | 'end';
  minutes: Draw;
  /** `home`: behind the same access; `city`: same city and operator; `anywhere`: mostly the same country. */
  place: 'home' | 'city' | 'anywhere';
  /** Accesses of those who are anywhere, by weight. */
  access?: Partial<Record<AccessName, number>>;
  /** Share of them whose user-agent is that of the first viewer. */
  sameDevice: number;
}

export interface Scenario {
  /** Share of all sessions; the rows add up to 1. */
  share: number;
  /**
   * `leak`: the session is used by others than the one it was given to, or to copy the title. `undetectable`: it is too, but
   * the logs cannot show it; these rows count neither as found nor as missed.
   */
  kind: 'harmless' | 'leak' | 'undetectable';
  content: Content;
  /** How long the first viewer watches. A puller of a film ends with it. */
  minutes: Draw;
  /** Accesses of the first viewer, by weight. */
  access: Partial<Record<AccessName, number>>;
  habits: Habits;
  /** Changes of access, of every viewer: to one of `to`, then back to the first, and so on. */
  hops?: {
    to: Partial<Record<AccessName, number>>;
    everyMinutes: Draw;
    /** Without a connection in between. */
    outageSeconds: Draw;
    /** Share of changes at which the segments of the last seconds are asked for again. */
    repeated: number;
  };
  /** Share of segments that go over a second access at the same time. */
  secondAccess?: Draw;
  /** Another device of the same access takes over after some minutes; the first goes on polling the playlist. */
  cast?: { afterMinutes: Draw; pollSeconds: Draw };
  others?: Others;
  /** A program that fetches everything, instead of a player. */
  puller?: {
    /** Seconds of media a second. */
    speed: Draw;
    connections: Draw;
    /** Segments after which it takes another exit; never, when it is left out. */
    segmentsAnExit?: Draw;
  };
  /** Requests with a bad signature under the session id, from strangers, a minute. All of them are denied. */
  forgeriesPerMinute?: Draw;
}

const MIXED: Content = { vod: 0.62, live: 0.3, lowLatency: 0.08 };
const VOD: Content = { vod: 1, live: 0, lowLatency: 0 };
const LIVE: Content = { vod: 0, live: 0.8, lowLatency: 0.2 };

/** [conviva], televisions and computers: 26 minutes on average, many short ones, a long tail. */
const WATCHED: Draw = { median: 12, p90: 60, most: 300 };

const ORDINARY: Habits = {
  pausesPerHour: 1.2,
  pauseMinutes: { median: 1.5, p90: 10, most: 45 },
  seeksPerHour: 0.8,
  seekMinutes: { median: 1, p90: 8, most: 60 },
  backwards: 0.6,
  reloadsPerHour: 0.05,
  switchesPerHour: 4,
  retries: 0.003,
  speed: 1,
};

/** Programs neither pause nor jump. */
const STEADY: Habits = { ...ORDINARY, pausesPerHour: 0, seeksPerHour: 0, reloadsPerHour: 0, switchesPerHour: 0 };

export const ANYWHERE: Partial<Record<AccessName, number>> = {
  home: 0.6,
  cellular: 0.2,
  cgnat: 0.1,
  relay: 0.05,
  vpn: 0.05,
};
/** How many others get a link: mostly a few, sometimes a chat group; at most 30 viewers together. */
const A_FEW: Draw = { median: 3, p90: 12, most: 29 };

export const SCENARIOS = {
  /** One device at home, IPv4 and IPv6, pauses, changing renditions. */
  household: {
    share: 0.315,
    kind: 'harmless',
    content: MIXED,
    minutes: WATCHED,
    access: { home: 1 },
    habits: ORDINARY,
  },
  /** A phone between Wi-Fi and the mobile network. [conviva] */
  mobile: {
    share: 0.11,
    kind: 'harmless',
    content: MIXED,
    minutes: { median: 6, p90: 25, most: 150 },
    access: { home: 0.5, cellular: 0.5 },
    habits: { ...ORDINARY, retries: 0.01, switchesPerHour: 10 },
    hops: {
      to: { cellular: 0.8, home: 0.2 },
      everyMinutes: { median: 15, p90: 50, most: 120 },
      outageSeconds: { median: 2, p90: 20, most: 90 },
      repeated: 0.5,
    },
  },
  /** Carrier-grade NAT: the address changes from connection to connection. [rfc6888] */
  cgnat: { share: 0.06, kind: 'harmless', content: MIXED, minutes: WATCHED, access: { cgnat: 1 }, habits: ORDINARY },
  /** A phone starts, a television goes on; the phone keeps polling the playlist. */
  casting: {
    share: 0.06,
    kind: 'harmless',
    content: MIXED,
    minutes: { median: 40, p90: 120, most: 300 },
    access: { home: 0.85, cgnat: 0.15 },
    habits: ORDINARY,
    cast: { afterMinutes: { median: 0.7, p90: 5, most: 20 }, pollSeconds: { from: 4, to: 30 } },
  },
  /** [relay] */
  privateRelay: {
    share: 0.05,
    kind: 'harmless',
    content: MIXED,
    minutes: WATCHED,
    access: { relay: 1 },
    habits: ORDINARY,
  },
  /** Parts and blocking reloads: about two requests a second. [rfc8216] */
  lowLatency: {
    share: 0.04,
    kind: 'harmless',
    content: { vod: 0, live: 0, lowLatency: 1 },
    minutes: WATCHED,
    access: { home: 0.7, cellular: 0.2, cgnat: 0.1 },
    habits: { ...ORDINARY, seeksPerHour: 0.2 },
  },
  /** Jumps back again and again: sports, language learning. */
  seeking: {
    share: 0.04,
    kind: 'harmless',
    content: { vod: 0.5, live: 0.5, lowLatency: 0 },
    minutes: WATCHED,
    access: { home: 0.8, cellular: 0.2 },
    habits: { ...ORDINARY, seeksPerHour: 40, seekMinutes: { median: 0.6, p90: 6, most: 60 }, backwards: 0.85 },
  },
  /** Episode after episode. */
  binge: {
    share: 0.03,
    kind: 'harmless',
    content: VOD,
    minutes: { from: 150, to: 420 },
    access: { home: 0.9, cgnat: 0.1 },
    habits: ORDINARY,
  },
  /** A television that is on all day; rarely through a VPN, where nothing tells it from one that sends on. */
  background: {
    share: 0.012,
    kind: 'harmless',
    content: LIVE,
    minutes: { from: 360, to: 1320 },
    access: { home: 0.87, cgnat: 0.1, vpn: 0.03 },
    habits: { ...ORDINARY, pausesPerHour: 0.05, seeksPerHour: 0 },
  },
  /** Through the proxy or VPN of an employer: one or two exits. */
  office: { share: 0.025, kind: 'harmless', content: MIXED, minutes: WATCHED, access: { office: 1 }, habits: ORDINARY },
  /** Through a VPN service of the viewer's own, some changing the exit on the way. [vpn] */
  vpnViewer: {
    share: 0.03,
    kind: 'harmless',
    content: MIXED,
    minutes: WATCHED,
    access: { vpn: 1 },
    habits: ORDINARY,
    hops: {
      to: { vpn: 0.5, home: 0.5 },
      everyMinutes: { median: 60, p90: 240, most: 600 },
      outageSeconds: { median: 10, p90: 60, most: 300 },
      repeated: 0.3,
    },
  },
  /** On a train: tunnels, another exit of the mobile network every few minutes, other edge locations. */
  train: {
    share: 0.012,
    kind: 'harmless',
    content: MIXED,
    minutes: { median: 30, p90: 90, most: 240 },
    access: { cellular: 1 },
    habits: { ...ORDINARY, retries: 0.03, switchesPerHour: 30 },
    hops: {
      to: { cellular: 0.9, cgnat: 0.1 },
      everyMinutes: { median: 5, p90: 15, most: 40 },
      outageSeconds: { median: 20, p90: 90, most: 300 },
      repeated: 0.6,
    },
  },
  /** A bad line: many answers do not arrive and are asked for again. */
  poorNetwork: {
    share: 0.03,
    kind: 'harmless',
    content: MIXED,
    minutes: WATCHED,
    access: { home: 0.5, cellular: 0.3, cgnat: 0.2 },
    habits: { ...ORDINARY, retries: 0.15, switchesPerHour: 40, reloadsPerHour: 0.5 },
  },
  /** The page is loaded again and again, and begins where it was. */
  reloads: {
    share: 0.02,
    kind: 'harmless',
    content: MIXED,
    minutes: WATCHED,
    access: { home: 0.8, relay: 0.1, cgnat: 0.1 },
    habits: { ...ORDINARY, reloadsPerHour: 12 },
  },
  /** Faster than it was made. [speed] */
  fastPlayback: {
    share: 0.01,
    kind: 'harmless',
    content: VOD,
    minutes: WATCHED,
    access: { home: 0.7, cellular: 0.2, cgnat: 0.1 },
    habits: { ...ORDINARY, speed: { from: 1.25, to: 2 } },
  },
  /** Wi-Fi and mobile network at once, because the one is weak; each segment is fetched over one of them. */
  wifiAssist: {
    share: 0.012,
    kind: 'harmless',
    content: MIXED,
    minutes: { median: 15, p90: 60, most: 150 },
    access: { home: 1 },
    habits: { ...ORDINARY, retries: 0.02, switchesPerHour: 15 },
    secondAccess: { from: 0.05, to: 0.6 },
  },
  /** Begun at home, continued elsewhere later. */
  resumed: {
    share: 0.02,
    kind: 'harmless',
    content: VOD,
    minutes: { from: 100, to: 400 },
    access: { home: 0.7, cgnat: 0.3 },
    habits: ORDINARY,
    hops: {
      to: { cellular: 0.4, office: 0.3, vpn: 0.1, home: 0.2 },
      everyMinutes: { from: 15, to: 60 },
      outageSeconds: { from: 600, to: 9000 },
      repeated: 0.8,
    },
  },
  /** Two devices of a household play the same URL, on purpose or by mistake. */
  twoDevices: {
    share: 0.01,
    kind: 'harmless',
    content: MIXED,
    minutes: { median: 30, p90: 90, most: 240 },
    access: { home: 0.9, cgnat: 0.1 },
    habits: ORDINARY,
    others: {
      viewers: 1,
      joinMinutes: { median: 5, p90: 40, most: 120 },
      joinAfter: 'start',
      place: 'home',
      sameDevice: 0.1,
      minutes: { median: 12, p90: 60, most: 200 },
    },
  },
  /** Strangers who know the session id send requests under it, to have it revoked. */
  framed: {
    share: 0.01,
    kind: 'harmless',
    content: MIXED,
    minutes: WATCHED,
    access: { home: 1 },
    habits: ORDINARY,
    forgeriesPerMinute: { median: 20, p90: 200, most: 600 },
  },

  /** A link given to others, who watch the same live programme. */
  sharedLive: {
    share: 0.018,
    kind: 'leak',
    content: LIVE,
    minutes: { median: 50, p90: 120, most: 240 },
    access: { home: 0.8, cellular: 0.1, cgnat: 0.1 },
    habits: ORDINARY,
    others: {
      viewers: A_FEW,
      joinMinutes: { median: 6, p90: 30, most: 90 },
      joinAfter: 'start',
      place: 'anywhere',
      minutes: { median: 25, p90: 90, most: 180 },
      sameDevice: 0.15,
    },
  },
  /** A link given to others, each of whom begins at the beginning. */
  sharedVod: {
    share: 0.018,
    kind: 'leak',
    content: VOD,
    minutes: { median: 60, p90: 120, most: 240 },
    access: { home: 0.8, cellular: 0.1, cgnat: 0.1 },
    habits: ORDINARY,
    others: {
      viewers: A_FEW,
      joinMinutes: { median: 30, p90: 180, most: 480 },
      joinAfter: 'start',
      place: 'anywhere',
      minutes: { median: 40, p90: 100, most: 200 },
      sameDevice: 0.15,
    },
  },
  /** The same within one city: one operator, mostly the same application. */
  sharedCity: {
    share: 0.012,
    kind: 'leak',
    content: { vod: 0.5, live: 0.4, lowLatency: 0.1 },
    minutes: { median: 50, p90: 120, most: 240 },
    access: { home: 0.8, cgnat: 0.2 },
    habits: ORDINARY,
    others: {
      viewers: { median: 2, p90: 6, most: 15 },
      joinMinutes: { median: 10, p90: 60, most: 180 },
      joinAfter: 'start',
      minutes: { median: 30, p90: 90, most: 180 },
      place: 'city',
      sameDevice: 0.8,
    },
  },
  /** The next one begins when the first has ended. */
  sharedLater: {
    share: 0.006,
    kind: 'leak',
    content: VOD,
    minutes: { median: 60, p90: 110, most: 150 },
    access: { home: 0.9, cgnat: 0.1 },
    habits: ORDINARY,
    others: {
      viewers: { from: 0.6, to: 3 },
      joinMinutes: { median: 40, p90: 180, most: 300 },
      joinAfter: 'end',
      minutes: { median: 50, p90: 100, most: 150 },
      place: 'anywhere',
      sameDevice: 0.3,
    },
  },
  /** A channel is pulled in real time by a server, for hours, to be sent on. */
  restreamHosting: {
    share: 0.01,
    kind: 'leak',
    content: LIVE,
    minutes: { median: 480, p90: 1200, most: 1440 },
    access: { hosting: 1 },
    habits: STEADY,
    puller: { speed: 1, connections: 1 },
  },
  /** The same through residential proxies. [proxies] */
  restreamProxies: {
    share: 0.005,
    kind: 'leak',
    content: LIVE,
    minutes: { median: 300, p90: 900, most: 1440 },
    access: { proxies: 1 },
    habits: STEADY,
    puller: { speed: 1, connections: 1 },
  },
  /** All of a title, as fast as the line allows. */
  rip: {
    share: 0.014,
    kind: 'leak',
    content: VOD,
    minutes: 240,
    access: { home: 0.5, hosting: 0.3, vpn: 0.2 },
    habits: STEADY,
    puller: { speed: { median: 9, p90: 35, most: 80 }, connections: { median: 1.5, p90: 6, most: 16 } },
  },
  /** All of a title, held back so that it does not show. */
  ripThrottled: {
    share: 0.004,
    kind: 'leak',
    content: VOD,
    minutes: 240,
    access: { home: 0.4, hosting: 0.4, vpn: 0.2 },
    habits: STEADY,
    puller: { speed: { from: 1.3, to: 2 }, connections: 1 },
  },
  /** A token that several people use, each behind changing exits of a VPN service. */
  vpnPool: {
    share: 0.006,
    kind: 'leak',
    content: MIXED,
    minutes: { median: 60, p90: 150, most: 300 },
    access: { vpn: 1 },
    habits: ORDINARY,
    hops: {
      to: { vpn: 1 },
      everyMinutes: { median: 15, p90: 40, most: 90 },
      outageSeconds: { median: 5, p90: 30, most: 60 },
      repeated: 0.4,
    },
    others: {
      viewers: { median: 2.5, p90: 8, most: 20 },
      joinMinutes: { median: 10, p90: 60, most: 180 },
      joinAfter: 'start',
      minutes: { median: 40, p90: 120, most: 240 },
      place: 'anywhere',
      sameDevice: 0.5,
      access: { vpn: 1 },
    },
  },
  /** All of a title, through another exit every few segments. */
  ripPool: {
    share: 0.005,
    kind: 'leak',
    content: VOD,
    minutes: 240,
    access: { vpn: 0.5, proxies: 0.5 },
    habits: STEADY,
    puller: {
      speed: { median: 4, p90: 12, most: 30 },
      connections: { from: 1, to: 4 },
      segmentsAnExit: { median: 30, p90: 120, most: 400 },
    },
  },

  /** Two people behind one line and with the same device: neighbours with one Wi-Fi, a dormitory. */
  sharedHousehold: {
    share: 0.003,
    kind: 'undetectable',
    content: MIXED,
    minutes: WATCHED,
    access: { home: 0.7, office: 0.3 },
    habits: ORDINARY,
    others: {
      viewers: 1,
      joinMinutes: { median: 5, p90: 40, most: 120 },
      joinAfter: 'start',
      place: 'home',
      sameDevice: 1,
      minutes: { median: 25, p90: 90, most: 200 },
    },
  },
  /** A channel is recorded or sent on from a player at home, for as long as a person might watch. */
  restreamHome: {
    share: 0.003,
    kind: 'undetectable',
    content: LIVE,
    minutes: { median: 100, p90: 180, most: 240 },
    access: { home: 1 },
    habits: STEADY,
  },
} as const satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof SCENARIOS;
export const SCENARIO_NAMES = Object.keys(SCENARIOS) as ScenarioName[];
