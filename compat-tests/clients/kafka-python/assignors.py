"""What each assignor gives to members that differ in nothing but their name.

usage: assignors.py BOOTSTRAP range|roundrobin|sticky [first-generation]
"""

import sys

from members import Member, wait_stable
from support import create_topic, result

bootstrap, assignor, *only = sys.argv[1:]
TOPICS = ["left", "right"]
PARTITIONS = [(topic, number) for topic in TOPICS for number in range(3)]
for topic in TOPICS:
    create_topic(bootstrap, topic, 3)


def join(name):
    return Member(bootstrap, "shared", TOPICS, name, assignor)


def counts(members):
    return sorted(len(member.owned) for member in members)


if only:
    remaining = [join(name) for name in "abc"]
    wait_stable(remaining, PARTITIONS)
    result(counts=counts(remaining), generation=remaining[0].generation)
elif assignor == "sticky":
    a, b, c = members = [join(name) for name in "abc"]
    wait_stable(members, PARTITIONS)
    three = counts(members)
    before = {member: member.owned for member in members}
    b.leave()
    wait_stable([a, c], PARTITIONS)
    two = counts([a, c])
    kept_when_one_left = [len(before[member] & member.owned) for member in (a, c)]
    before = {member: member.owned for member in (a, c)}
    d = join("d")
    wait_stable([a, c, d], PARTITIONS)
    result(
        counts=[three, two, counts([a, c, d])],
        kept_when_one_left=kept_when_one_left,
        kept_when_one_joined=[len(before[member] & member.owned) for member in (a, c)],
    )
    remaining = [a, c, d]
else:
    remaining = [join("a"), join("b")]
    wait_stable(remaining, PARTITIONS)
    result(**{m.name: sorted("%s-%d" % partition for partition in m.owned) for m in remaining})

for member in remaining:
    member.die()
