// Generators of Matrix names, valid ones and near misses.

import fc from "fast-check";

const LABEL_CHARACTERS = [..."abcxyzABCXYZ0189-"];

const label = fc.string({ unit: fc.constantFrom(...LABEL_CHARACTERS), minLength: 1, maxLength: 10 });

/** DNS names as the grammar of server names has them. */
export const dnsName: fc.Arbitrary<string> = fc.array(label, { minLength: 1, maxLength: 4 })
  .map((labels) => labels.join("."));

/** IPv4 literals, IPv6 literals in brackets, DNS names. */
export const host: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: dnsName },
  fc.ipV4(),
  fc.ipV6().map((address) => `[${address}]`),
);

/** Ports as text, leading zeros among them. */
export const port: fc.Arbitrary<string> = fc.oneof(
  fc.nat({ max: 65_535 }).map(String),
  fc.constantFrom("0", "00080", "65535", "65528"),
);

/** Valid server names with their parts. */
export const serverName: fc.Arbitrary<{ text: string; host: string; port: string | null }> = fc
  .tuple(host, fc.option(port))
  .map(([host, port]) => ({ text: port === null ? host : `${host}:${port}`, host, port }));

/** Localparts, historical ones among them: anything without a colon and control characters. */
export const localpart: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: fc.constantFrom(..."alicebob0189._=-/+"), minLength: 1, maxLength: 20 }),
  fc.string({ unit: fc.constantFrom(...'aÄß漢😀@ !"\\'), minLength: 1, maxLength: 20 }),
);

/** Characters that single edits put in: those of the grammar, those beside it, and troublemakers. */
export const oddCharacter: fc.Arbitrary<string> = fc.constantFrom(
  ...[..."a09.:-[]@%_/ \\\n\r\t\0", "\u007f", "\u0085", "\u2028", "é", "０", "\ud800", "İ", "K"],
);
