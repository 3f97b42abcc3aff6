import type { Random } from './random.ts';
import { ACCESS, type AccessName } from './scenarios.ts';

/** A network operator. Its addresses are made of `index`, its place in the list. */
interface Operator {
  asn: string;
  country: string;
  index: number;
}

interface Country {
  weight: number;
  /** Edge locations, by airport code. */
  cities: string[];
  fixed: string[];
  mobile: string[];
}

/** Operators are named by their real numbers, so that a list of hosting networks meets them as it would in earnest. */
const COUNTRIES: Record<string, Country> = {
  DE: {
    weight: 4,
    cities: ['FRA56', 'MUC50', 'HAM50', 'TXL50', 'DUS51'],
    fixed: ['3320', '3209', '6830', '8881'],
    mobile: ['3320', '6805', '3209'],
  },
  FR: {
    weight: 2,
    cities: ['CDG52', 'MRS53'],
    fixed: ['3215', '12322', '5410', '15557'],
    mobile: ['3215', '51207', '5410'],
  },
  GB: {
    weight: 2,
    cities: ['LHR62', 'MAN51', 'EDI52'],
    fixed: ['2856', '5607', '5089', '13285'],
    mobile: ['12576', '206067', '25135'],
  },
  US: {
    weight: 3,
    cities: ['IAD89', 'JFK50', 'ORD58', 'DFW57', 'LAX54', 'SEA73'],
    fixed: ['7922', '7018', '701', '20115', '22773'],
    mobile: ['21928', '6167', '20057'],
  },
  PL: { weight: 1, cities: ['WAW51'], fixed: ['5617', '12741'], mobile: ['8374', '43447'] },
  ES: { weight: 1, cities: ['MAD53', 'BCN50'], fixed: ['3352', '12430'], mobile: ['12479', '15704'] },
};
/** Gateways of employers: a security service, a company line, a VPN server of their own in a cloud. */
const OFFICE = ['22616', '702', '16509'];
/** Partners of private relays. */
const RELAY = ['36183', '13335', '54113'];
/** The last three of each are in no list of hosting services that detection comes with. */
const VPN = ['9009', '212238', '60068', '62240', '136787', '207137', '147049'];
const HOSTING = ['16276', '24940', '14061', '16509', '51167', '20473', '44477', '197540', '56630'];

const COUNTRY_WEIGHTS = Object.entries(COUNTRIES).map(([code, { weight }]) => [code, weight] as const);

const OPERATORS: Record<'fixed' | 'mobile' | 'office' | 'relay' | 'vpn' | 'hosting', Operator[]> = {
  fixed: [],
  mobile: [],
  office: [],
  relay: [],
  vpn: [],
  hosting: [],
};
{
  let index = 0;
  for (const [country, { fixed, mobile }] of Object.entries(COUNTRIES)) {
    for (const asn of fixed) OPERATORS.fixed.push({ asn, country, index: index++ });
    for (const asn of mobile) OPERATORS.mobile.push({ asn, country, index: index++ });
    for (const asn of OFFICE) OPERATORS.office.push({ asn, country, index: index++ });
    for (const asn of RELAY) OPERATORS.relay.push({ asn, country, index: index++ });
    for (const asn of VPN) OPERATORS.vpn.push({ asn, country, index: index++ });
    for (const asn of HOSTING) OPERATORS.hosting.push({ asn, country, index: index++ });
  }
}

/** Where somebody is. */
export interface Place {
  country: string;
  /** Place of the city in the list of its country. */
  city: number;
}

/** A connection as the log shows it. */
export interface Connection {
  ip: string;
  port: number;
  asn: string;
  country: string;
  edgeLocation: string;
  /** Seconds since the epoch, after which the next request opens another. */
  until: number;
}

export function drawPlace(random: Random): Place {
  const country = random.pickWeighted(COUNTRY_WEIGHTS);
  return { country, city: random.whole(0, citiesOf(country).length - 1) };
}

/** Somewhere else: mostly in the same country. */
export function drawPlaceNear(random: Random, place: Place): Place {
  if (!random.chance(0.75)) return drawPlace(random);
  return { country: place.country, city: random.whole(0, citiesOf(place.country).length - 1) };
}

function citiesOf(country: string): string[] {
  return COUNTRIES[country]?.cities ?? [];
}

/** A line to the Internet, which devices share: its operator and the addresses that it can have. */
export class Line {
  readonly #name: AccessName;
  readonly #place: Place;
  readonly #operators: Operator[];
  readonly #operator: Operator;
  /** Where in the operator's space the addresses are: the networks, and the addresses within. */
  readonly #pool: { city: number; net: number; host: number }[];
  readonly #ipv6: string | undefined;
  /** Connections that a device has open at the same time. */
  readonly connections: number;

  /** `like`: a line of the same operator in the same city. */
  constructor(random: Random, name: AccessName, place: Place, like?: Line) {
    const access = ACCESS[name];
    this.#name = name;
    this.#operators = OPERATORS[access.operators].filter(
      ({ country }) => !access.inCountry || country === place.country,
    );
    const same = like !== undefined && like.#name === name ? like.#operator : undefined;
    this.#operator = same ?? random.pick(this.#operators);
    // Who leaves in another country is served near the exit.
    this.#place = access.inCountry
      ? place
      : { country: this.#operator.country, city: random.whole(0, citiesOf(this.#operator.country).length - 1) };
    const first = random.whole(0, 511);
    const networks = Math.max(1, Math.round(random.draw(access.networks)));
    const addresses = Math.max(networks, Math.round(random.draw(access.addresses)));
    this.#pool = Array.from({ length: addresses }, (_, i) => ({
      city: this.#place.city,
      net: (first + (i % networks)) % 512,
      host: random.whole(1, 254),
    }));
    this.connections = Math.max(1, Math.round(random.draw(access.connections)));
    this.#ipv6 = random.chance(access.ipv6) ? ipv6(this.#operator, this.#place.city, random) : undefined;
  }

  /** Opens a connection at `time`, seconds since the epoch, for a device whose half of an IPv6 address is `device`. */
  connect(random: Random, time: number, device: string): Connection {
    const access = ACCESS[this.#name];
    const operator = random.chance(access.otherOperator) ? random.pick(this.#operators) : this.#operator;
    const { city, net, host } = random.pick(this.#pool);
    const overIpv6 = this.#ipv6 !== undefined && operator === this.#operator && random.chance(access.ipv6Used);
    const cities = citiesOf(operator.country);
    const served = random.chance(access.otherCity) ? random.whole(0, cities.length - 1) : city % cities.length;
    return {
      ip: overIpv6 ? `${this.#ipv6}:${device}` : ipv4(operator, city, net, host),
      port: random.whole(1024, 65535),
      asn: operator.asn,
      country: operator.country,
      // A city has more than one location.
      edgeLocation: `${cities[served]}-P${random.whole(1, 3)}`,
      until: time + random.draw(access.connectionMinutes) * 60,
    };
  }
}

/** An address of 240.0.0.0/4, which nobody has (RFC 1112 §4): a /12 for each operator, 512 networks for each of its cities. */
function ipv4({ index }: Operator, city: number, net: number, host: number): string {
  const network = (index << 12) | ((city % 8) << 9) | net;
  return `${240 + (network >>> 16)}.${(network >>> 8) & 255}.${network & 255}.${host}`;
}

/** The first half of an address of 3fff::/20, which is for documentation (RFC 9637). */
function ipv6({ index }: Operator, city: number, random: Random): string {
  const group = (value: number) => value.toString(16);
  return `3fff:${group(index)}:${group((city << 12) | random.whole(0, 4095))}:${group(random.whole(0, 255))}`;
}
