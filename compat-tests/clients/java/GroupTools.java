import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.Pattern;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.tools.consumer.group.ConsumerGroupCommand;

/**
 * kafka-consumer-groups in all its forms, then the same through Admin, on groups of both protocols, with members and
 * without. Writes a transcript: what was asked, and what came back.
 *
 * What no two runs have in common has a name in it, lines whose order means nothing are sorted. The last line is "end".
 *
 * There must be a group "workers" with one member, of the protocol type "connect".
 *
 * usage: GroupTools BOOTSTRAP
 */
public class GroupTools {
    static final TopicPartition ORDERS_0 = new TopicPartition("orders", 0), ORDERS_1 = new TopicPartition("orders", 1);
    static final TopicPartition AUDIT = new TopicPartition("audit", 0);
    static final long YEAR_2020_MS = 1_577_836_800_000L, MINUTE_MS = 60_000;
    static final List<String> PROTOCOLS = List.of("classic", "consumer");

    /** What differs from run to run, and what stands for it. */
    static final Map<String, String> names = new ConcurrentHashMap<>();
    static String bootstrap;
    static Admin admin;

    public static void main(String[] args) throws Exception {
        Thread.setDefaultUncaughtExceptionHandler((member, error) -> {
            error.printStackTrace();
            System.exit(1);
        });
        bootstrap = args[0];
        names.put(bootstrap, "BROKER");
        names.put(bootstrap.replace(":", " "), "BROKER");
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        createTopics();
        tool("--list");
        tool("--describe", "--all-groups");

        Map<String, Member[]> live = new TreeMap<>();
        for (String protocol : PROTOCOLS) {
            live.put(protocol + "-live", groupWithMembers(protocol));
            groupWithoutMembers(protocol, protocol + "-empty");
            groupWithoutMembers(protocol, protocol + "-gone");
        }
        call("offsets of a group that nobody has joined", () -> admin.alterConsumerGroupOffsets("simple", Map.of(
            ORDERS_0, new OffsetAndMetadata(3, Optional.of(0), "by hand"), AUDIT, new OffsetAndMetadata(1))).all());

        listGroups();
        describeGroups();
        resetOffsets();
        adminReads();
        adminOffsets();
        deleteOffsets();
        staticMembers();
        membersOfOtherKinds();
        deletedTopic();
        groupOfWorkers();
        for (String group : live.keySet()) {
            call("remove all members of " + group, () -> admin.removeMembersFromConsumerGroup(group,
                new RemoveMembersFromConsumerGroupOptions()).all());
            // They come back.
            settled(group, live.get(group));
        }
        deleteGroups();
        for (Member[] members : live.values()) {
            // The static one stays in its group, for now.
            members[1].close();
            members[0].close();
        }
        tool("--list", "--state");
        for (String protocol : PROTOCOLS) {
            var only = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove(protocol + "-static")));
            call("remove the last member", () -> admin.removeMembersFromConsumerGroup(protocol + "-live", only).all());
        }
        tool("--list", "--state");
        tool("--delete", "--all-groups");
        tool("--list");
        Transcript.end();
    }

    // What there is to see.

    /** Records of 2020, and one of now at the end of "audit"; "orders-0" begins at offset 2. */
    static void createTopics() throws Exception {
        Map<String, String> kept = Map.of("retention.ms", "-1");
        admin.createTopics(List.of(
            new NewTopic("orders", 2, (short) 1).configs(kept), new NewTopic("audit", 1, (short) 1).configs(kept))).all().get();
        Map<TopicPartition, Integer> counts = Map.of(ORDERS_0, 10, ORDERS_1, 6, AUDIT, 4);
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (TopicPartition partition : counts.keySet())
                for (int number = 0; number < counts.get(partition); number++)
                    producer.send(record(partition, YEAR_2020_MS + number * MINUTE_MS)).get();
            producer.send(record(AUDIT, System.currentTimeMillis())).get();
        }
        admin.deleteRecords(Map.of(ORDERS_0, RecordsToDelete.beforeOffset(2))).all().get();
    }

    static ProducerRecord<String, String> record(TopicPartition partition, long timestampMs) {
        return new ProducerRecord<>(partition.topic(), partition.partition(), timestampMs, null, "some value");
    }

    /** Two members, the second one static, each with one partition of "orders". */
    static Member[] groupWithMembers(String protocol) throws Exception {
        String group = protocol + "-live";
        Member first = new Member(protocol, group, protocol + "-a", "orders");
        settled(group, first);
        first.commit(Map.of(ORDERS_0, new OffsetAndMetadata(4, Optional.of(0), "mine"), ORDERS_1, new OffsetAndMetadata(6)));
        Member second = new Member(protocol + " group.instance.id=" + protocol + "-static", group, protocol + "-b", "orders");
        settled(group, first, second);
        return new Member[] {first, second};
    }

    static void groupWithoutMembers(String protocol, String group) throws Exception {
        Member member = new Member(protocol, group, group, "orders", "audit");
        settled(group, member);
        member.commit(Map.of(ORDERS_0, new OffsetAndMetadata(5), ORDERS_1, new OffsetAndMetadata(2), AUDIT, new OffsetAndMetadata(4)));
        member.close();
        until(group + " is empty", () -> description(group).groupState() == GroupState.EMPTY);
    }

    /** A consumer that polls in a thread of its own. */
    static final class Member implements AutoCloseable {
        final KafkaConsumer<String, String> consumer;
        final BlockingQueue<Runnable> tasks = new LinkedBlockingQueue<>();
        final Thread thread;
        volatile int owned;
        volatile boolean leaving;

        /** `protocol` may have one more setting behind it, as in "classic group.instance.id=a"; so may a regex be a topic. */
        Member(String protocol, String group, String client, String... topics) {
            Map<String, Object> settings = new HashMap<>(Map.of(
                "bootstrap.servers", bootstrap, "group.id", group, "client.id", client,
                "enable.auto.commit", false, "auto.offset.reset", "earliest"));
            String[] words = protocol.split("[ =]");
            settings.put("group.protocol", words[0]);
            if (words.length > 1) settings.put(words[1], words[2]);
            if (words[0].equals("classic")) settings.put("heartbeat.interval.ms", 200);
            consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
            thread = new Thread(() -> poll(client, List.of(topics)), client);
            thread.setDaemon(true);
            thread.start();
        }

        void poll(String client, List<String> topics) {
            if (topics.get(0).startsWith("^")) consumer.subscribe(new SubscriptionPattern(topics.get(0)));
            else consumer.subscribe(topics);
            while (!leaving) {
                consumer.poll(Duration.ofMillis(50));
                String id = consumer.groupMetadata().memberId();
                if (!id.isEmpty()) names.put(id, "MEMBER-" + client);
                owned = consumer.assignment().size();
                for (Runnable task = tasks.poll(); task != null; task = tasks.poll()) task.run();
            }
            consumer.close();
        }

        void commit(Map<TopicPartition, OffsetAndMetadata> offsets) throws Exception {
            var done = CompletableFuture.supplyAsync(() -> { consumer.commitSync(offsets); return null; }, tasks::add);
            done.get(30, TimeUnit.SECONDS);
        }

        @Override public void close() throws Exception {
            leaving = true;
            thread.join();
        }
    }

    /** Waits until the group is stable, and these members, and no others, own all partitions there are. */
    static void settled(String group, Member... members) throws Exception {
        until(group + " is stable", () -> {
            ConsumerGroupDescription found = description(group);
            int assigned = found.members().stream().mapToInt(member -> member.assignment().topicPartitions().size()).sum();
            int owned = Stream.of(members).mapToInt(member -> member.owned).sum();
            return found.groupState() == GroupState.STABLE && found.members().size() == members.length
                && assigned == owned && owned >= 2 && Stream.of(members).allMatch(member -> member.owned > 0);
        });
    }

    static ConsumerGroupDescription description(String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get();
    }

    static void until(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (true) {
            try {
                if (condition.call()) return;
            } catch (ExecutionException error) {
                // The group does not exist yet.
            }
            if (System.nanoTime() > deadline) throw new IllegalStateException("waited in vain: " + what);
            Thread.sleep(10);
        }
    }

    // The tool.

    static void listGroups() throws Exception {
        tool("--list");
        tool("--list", "--state");
        tool("--list", "--type");
        tool("--list", "--state", "--type");
        for (String states : List.of("Stable", "Empty", "Stable,Empty", "stable", "Assigning,Reconciling", "Dead", "Sleepy"))
            tool("--list", "--state", states);
        for (String types : List.of("classic", "consumer", "classic,consumer", "CONSUMER", "share", "odd"))
            tool("--list", "--type", types);
        tool("--list", "--type", "consumer", "--state", "Empty");
    }

    static void describeGroups() throws Exception {
        List<String[]> forms = List.of(
            new String[] {}, new String[] {"--offsets"}, new String[] {"--offsets", "--verbose"}, new String[] {"--members"},
            new String[] {"--members", "--verbose"}, new String[] {"--state"}, new String[] {"--state", "--verbose"});
        List<String> groups = List.of("classic-live", "consumer-live", "classic-empty", "consumer-empty", "simple", "unknown");
        for (String[] form : forms) {
            for (String group : groups) tool(join(new String[] {"--describe", "--group", group}, form));
            tool(join(new String[] {"--describe", "--all-groups"}, form));
        }
        tool("--describe", "--group", "classic-live", "--group", "consumer-empty", "--group", "unknown");
        tool("--describe", "--group", "classic-live", "--members", "--state");
        tool("--describe");
    }

    static void resetOffsets() throws Exception {
        List<String[]> scopes = List.of(
            new String[] {"--topic", "orders"}, new String[] {"--topic", "orders:0,1"}, new String[] {"--topic", "orders:1"},
            new String[] {"--topic", "orders:0", "--topic", "audit"}, new String[] {"--all-topics"});
        List<String[]> targets = List.of(
            new String[] {"--to-earliest"}, new String[] {"--to-latest"}, new String[] {"--to-current"},
            new String[] {"--to-offset", "3"}, new String[] {"--to-offset", "1"}, new String[] {"--to-offset", "100"},
            new String[] {"--shift-by", "2"}, new String[] {"--shift-by", "-1"}, new String[] {"--shift-by", "-100"},
            new String[] {"--to-datetime", "2020-01-01T00:03:30.000"}, new String[] {"--to-datetime", "2020-01-01T00:03:00.000Z"},
            new String[] {"--by-duration", "P1D"}, new String[] {"--by-duration", "PT0S"});
        for (String protocol : PROTOCOLS) {
            String[] empty = {"--reset-offsets", "--group", protocol + "-empty"};
            for (String[] scope : scopes) tool(join(empty, scope, new String[] {"--to-earliest", "--dry-run"}));
            for (String[] target : targets) {
                tool(join(empty, new String[] {"--all-topics", "--dry-run"}, target));
                tool(join(empty, new String[] {"--all-topics", "--execute"}, target));
                committed(protocol + "-empty");
            }
            String[] live = {"--reset-offsets", "--group", protocol + "-live", "--topic", "orders", "--to-earliest"};
            tool(join(live, new String[] {"--dry-run"}));
            tool(join(live, new String[] {"--execute"}));
            committed(protocol + "-live");

            Path plan = Files.createTempFile("plan", ".csv");
            plan.toFile().deleteOnExit();
            names.put(plan.toString(), "PLAN");
            String exported = tool(join(empty, new String[] {"--topic", "orders", "--to-offset", "4", "--export", "--dry-run"}));
            Files.writeString(plan, exported);
            tool(join(empty, new String[] {"--from-file", plan.toString(), "--dry-run"}));
            tool(join(empty, new String[] {"--from-file", plan.toString(), "--execute"}));
            committed(protocol + "-empty");
        }
        Path plan = Files.createTempFile("plans", ".csv");
        plan.toFile().deleteOnExit();
        names.put(plan.toString(), "PLAN");
        String[] two = {"--reset-offsets", "--group", "classic-empty", "--group", "consumer-empty"};
        Files.writeString(plan, tool(join(two, new String[] {"--all-topics", "--to-earliest", "--export", "--dry-run"})));
        tool(join(two, new String[] {"--from-file", plan.toString(), "--execute"}));
        Files.writeString(plan, "orders 0 3\n");
        tool("--reset-offsets", "--group", "classic-empty", "--from-file", plan.toString(), "--dry-run");

        tool("--reset-offsets", "--all-groups", "--all-topics", "--to-latest", "--dry-run");
        tool("--reset-offsets", "--all-groups", "--topic", "audit", "--to-earliest", "--execute");
        tool("--reset-offsets", "--group", "simple", "--all-topics", "--to-latest", "--execute");
        tool("--reset-offsets", "--group", "new-by-reset", "--topic", "orders", "--to-earliest", "--execute");
        committed("simple");
        committed("new-by-reset");
        tool("--reset-offsets", "--group", "unknown", "--all-topics", "--to-earliest", "--dry-run");
        tool("--reset-offsets", "--group", "simple", "--topic", "orders:9", "--to-earliest", "--dry-run");
        tool("--reset-offsets", "--group", "simple", "--topic", "no-such-topic", "--to-earliest", "--dry-run");
        tool("--reset-offsets", "--group", "simple", "--topic", "orders", "--to-earliest");
        tool("--reset-offsets", "--group", "simple", "--topic", "orders", "--dry-run");
        tool("--reset-offsets", "--group", "simple", "--to-earliest", "--dry-run");
        tool("--reset-offsets", "--group", "simple", "--topic", "orders", "--to-datetime", "yesterday", "--dry-run");
    }

    static void deleteOffsets() throws Exception {
        for (String protocol : PROTOCOLS) {
            tool("--delete-offsets", "--group", protocol + "-live", "--topic", "orders");
            // Nobody reads this topic, so it is allowed although the group has members.
            tool("--delete-offsets", "--group", protocol + "-live", "--topic", "audit");
            tool("--delete-offsets", "--group", protocol + "-live", "--topic", "orders", "--topic", "audit");
            committed(protocol + "-live");
            tool("--delete-offsets", "--group", protocol + "-empty", "--topic", "orders:1");
            committed(protocol + "-empty");
            tool("--delete-offsets", "--group", protocol + "-empty", "--topic", "orders", "--topic", "audit");
            committed(protocol + "-empty");
            tool("--describe", "--group", protocol + "-empty");
        }
        tool("--delete-offsets", "--group", "unknown", "--topic", "orders");
        tool("--delete-offsets", "--group", "simple", "--topic", "orders:0,9");
        tool("--delete-offsets", "--group", "simple", "--topic", "no-such-topic:0");
    }

    /** Each in a group of its own, and a group of both protocols. */
    static void membersOfOtherKinds() throws Exception {
        Map<String, Member> members = new TreeMap<>();
        for (String protocol : List.of(
            "classic partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
            "classic client.rack=here", "consumer client.rack=there", "consumer group.remote.assignor=range")) {
            String group = protocol.replaceAll("=.*", "").replaceAll("[ .]", "-");
            members.put(group, new Member(protocol, group, group, "orders"));
        }
        members.put("regex", new Member("consumer", "regex", "regex", "^ord.*"));
        Member classic = new Member("classic", "mixed", "mixed-classic", "orders");
        settled("mixed", classic);
        Member consumer = new Member("consumer", "mixed", "mixed-consumer", "orders");
        for (String group : members.keySet()) settled(group, members.get(group));
        settled("mixed", classic, consumer);

        List<String> groups = new ArrayList<>(members.keySet());
        groups.add("mixed");
        for (String group : groups) {
            tool("--describe", "--group", group);
            tool("--describe", "--group", group, "--members", "--verbose");
            tool("--describe", "--group", group, "--state", "--verbose");
            call("describeConsumerGroups " + group, () -> sorted(description(group).members()));
            tool("--delete-offsets", "--group", group, "--topic", "orders");
            tool("--reset-offsets", "--group", group, "--topic", "orders", "--to-latest", "--execute");
        }
        // With its last member of the consumer protocol, the group itself goes back to the classic one.
        consumer.close();
        until("mixed is classic", () -> description("mixed").type() == GroupType.CLASSIC);
        settled("mixed", classic);
        tool("--list", "--type", "--state");
        tool("--describe", "--group", "mixed", "--members", "--verbose");
        members.put("mixed", classic);
        for (Member member : members.values()) member.close();
        for (String group : groups) {
            until(group + " is empty", () -> description(group).groupState() == GroupState.EMPTY);
            tool("--describe", "--group", group, "--state");
            tool("--delete", "--group", group);
        }
    }

    /** The offsets of a topic go with it, the group stays. */
    static void deletedTopic() throws Exception {
        TopicPartition partition = new TopicPartition("brief", 0);
        admin.createTopics(List.of(new NewTopic("brief", 1, (short) 1))).all().get();
        until("there is a leader", () -> admin.listOffsets(Map.of(partition, OffsetSpec.latest())).all().get() != null);
        admin.alterConsumerGroupOffsets("brief", Map.of(partition, new OffsetAndMetadata(0))).all().get();
        committed("brief");
        admin.deleteTopics(List.of("brief")).all().get();
        until("no offsets", () -> admin.listConsumerGroupOffsets("brief").partitionsToOffsetAndMetadata().get().isEmpty());
        for (String[] form : new String[][] {{"--offsets"}, {"--members"}, {"--state"}})
            tool(join(new String[] {"--describe", "--group", "brief"}, form));
        tool("--delete", "--group", "brief");
    }

    /** The test has made this one, with a member: it is not a group of consumers. */
    static void groupOfWorkers() throws Exception {
        tool("--list", "--state", "--type");
        tool("--describe", "--group", "workers");
        tool("--describe", "--group", "workers", "--members", "--verbose");
        tool("--describe", "--group", "workers", "--state");
        tool("--reset-offsets", "--group", "workers", "--topic", "orders", "--to-earliest", "--execute");
        tool("--delete-offsets", "--group", "workers", "--topic", "orders");
        tool("--delete", "--group", "workers");
        call("listGroups of workers", () -> sorted(admin.listGroups(
            new ListGroupsOptions().withProtocolTypes(Set.of("connect"))).all().get()));
        call("describeClassicGroups workers", () -> {
            ClassicGroupDescription found = admin.describeClassicGroups(List.of("workers")).all().get().get("workers");
            names.put(found.members().iterator().next().consumerId(), "WORKER");
            return List.of(found.protocol(), found.protocolData(), found.state(), sorted(found.members()));
        });
        call("remove all workers", () -> admin.removeMembersFromConsumerGroup("workers",
            new RemoveMembersFromConsumerGroupOptions()).all());
        call("delete the workers", () -> admin.deleteConsumerGroups(List.of("workers")).all());
    }

    static void deleteGroups() throws Exception {
        for (String protocol : PROTOCOLS) {
            tool("--delete", "--group", protocol + "-live");
            tool("--delete", "--group", protocol + "-gone");
            tool("--delete", "--group", protocol + "-gone");
            tool("--describe", "--group", protocol + "-gone");
            tool("--delete", "--group", protocol + "-empty", "--group", "unknown", "--group", protocol + "-live");
        }
        tool("--delete", "--group", "simple", "--topic", "orders");
        tool("--delete", "--group", "simple", "--group", "new-by-reset");
        tool("--delete", "--all-groups");
        tool("--list", "--type", "--state");
    }

    // The same through Admin.

    static void adminReads() throws Exception {
        call("listGroups", () -> sorted(admin.listGroups().all().get()));
        call("listGroups empty", () -> sorted(admin.listGroups(
            new ListGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))).all().get()));
        call("listGroups consumer type", () -> sorted(admin.listGroups(
            new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER))).all().get()));
        call("listGroups stable classic", () -> sorted(admin.listGroups(new ListGroupsOptions()
            .inGroupStates(Set.of(GroupState.STABLE)).withTypes(Set.of(GroupType.CLASSIC))).all().get()));
        call("listGroups without a protocol type", () -> sorted(admin.listGroups(
            new ListGroupsOptions().withProtocolTypes(Set.of(""))).all().get()));
        call("listGroups for consumers", () -> sorted(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get()));
        List<String> groups = List.of("classic-live", "consumer-live", "classic-empty", "consumer-empty", "simple", "unknown");
        var withOperations = new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true);
        var described = admin.describeConsumerGroups(groups, withOperations).describedGroups();
        for (String group : groups) {
            call("describeConsumerGroups " + group, () -> {
                ConsumerGroupDescription found = described.get(group).get();
                return List.of("simple=" + found.isSimpleConsumerGroup(), "assignor=" + found.partitionAssignor(),
                    found.type(), found.groupState(), found.coordinator(), "epoch=" + found.groupEpoch(),
                    "target=" + found.targetAssignmentEpoch(), "operations=" + sorted(found.authorizedOperations()),
                    sorted(found.members()));
            });
        }
        var classic = admin.describeClassicGroups(groups).describedGroups();
        for (String group : groups) {
            call("describeClassicGroups " + group, () -> {
                ClassicGroupDescription found = classic.get(group).get();
                return List.of("protocol=" + found.protocol(), "data=" + found.protocolData(), found.state(),
                    found.coordinator(), "operations=" + found.authorizedOperations(), sorted(found.members()));
            });
        }
        call("listConsumerGroupOffsets of several", () -> {
            var specs = new HashMap<String, ListConsumerGroupOffsetsSpec>();
            for (String group : groups) specs.put(group, new ListConsumerGroupOffsetsSpec());
            specs.put("consumer-empty", new ListConsumerGroupOffsetsSpec().topicPartitions(
                List.of(ORDERS_1, new TopicPartition("orders", 9), new TopicPartition("no-such-topic", 0))));
            return sorted(admin.listConsumerGroupOffsets(specs).all().get());
        });
        call("listConsumerGroupOffsets stable", () -> sorted(admin.listConsumerGroupOffsets("classic-live",
            new ListConsumerGroupOffsetsOptions().requireStable(true)).partitionsToOffsetAndMetadata().get()));
    }

    static void adminOffsets() throws Exception {
        for (String protocol : PROTOCOLS) {
            for (String group : List.of(protocol + "-live", protocol + "-gone")) {
                call("alterConsumerGroupOffsets " + group, () -> admin.alterConsumerGroupOffsets(group,
                    Map.of(ORDERS_0, new OffsetAndMetadata(7, Optional.of(0), "altered"))).all());
                var noSuch = new TopicPartition("no-such-topic", 0);
                var altered = admin.alterConsumerGroupOffsets(group,
                    Map.of(ORDERS_1, new OffsetAndMetadata(1), noSuch, new OffsetAndMetadata(1)));
                call("known partition", () -> altered.partitionResult(ORDERS_1));
                call("unknown partition", () -> altered.partitionResult(noSuch));
                call("too much metadata", () -> admin.alterConsumerGroupOffsets(group,
                    Map.of(ORDERS_1, new OffsetAndMetadata(1, "x".repeat(5000)))).all());
                committed(group);
                var deleted = admin.deleteConsumerGroupOffsets(group, Set.of(ORDERS_0, AUDIT, noSuch));
                for (var partition : List.of(ORDERS_0, AUDIT, noSuch))
                    call("deleteConsumerGroupOffsets " + group + " " + partition, () -> deleted.partitionResult(partition));
                committed(group);
            }
        }
        call("deleteConsumerGroupOffsets of an unknown group",
            () -> admin.deleteConsumerGroupOffsets("unknown", Set.of(ORDERS_0)).partitionResult(ORDERS_0));
        var deleted = admin.deleteConsumerGroups(List.of("classic-live", "consumer-live", "unknown")).deletedGroups();
        for (String group : new TreeSet<>(deleted.keySet())) call("deleteConsumerGroups " + group, () -> deleted.get(group));
    }

    /** A static member that closes stays in its group, until it is removed or its session ends. */
    static void staticMembers() throws Exception {
        for (String protocol : PROTOCOLS) {
            String group = protocol + "-static";
            for (boolean all : new boolean[] {false, true}) {
                Member member = new Member(protocol + " group.instance.id=kept", group, group, "orders");
                settled(group, member);
                member.close();
                tool("--describe", "--group", group, "--members");
                call("remove a member that there is not", () -> admin.removeMembersFromConsumerGroup(group,
                    new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("stranger")))).all());
                var options = all
                    ? new RemoveMembersFromConsumerGroupOptions()
                    : new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("kept")));
                options.reason("so that it goes");
                call("remove " + (all ? "all" : "the member"), () -> admin.removeMembersFromConsumerGroup(group, options).all());
                tool("--describe", "--group", group, "--state");
            }
            call("deleteConsumerGroups " + group, () -> admin.deleteConsumerGroups(List.of(group)).all());
        }
        call("remove from an unknown group", () -> admin.removeMembersFromConsumerGroup("unknown",
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("kept")))).all());
    }

    // The transcript.

    /** Runs kafka-consumer-groups and gives what it wrote to stdout. */
    static String tool(String... args) throws Exception {
        var said = Transcript.run(ConsumerGroupCommand::main, join(new String[] {"--bootstrap-server", bootstrap}, args));
        say("$ kafka-consumer-groups " + String.join(" ", args));
        lines(groupsSorted(said.out())).forEach(GroupTools::say);
        // A usage error shows all options, in two columns under this headline.
        String errors = said.err().split("(?m)^Option +Description")[0];
        lines(said.exit() == 0 ? errors : listsSorted(errors)).forEach(line -> say("! " + line));
        if (said.exit() != 0) say("exit code " + said.exit());
        say("");
        return said.out();
    }

    /** Its lines in an order of their own, but for the head of a table; neither stack traces nor wide columns. */
    static List<String> lines(String text) {
        List<String> blocks = new ArrayList<>();
        for (String block : text.split("\n\\s*\n")) {
            List<String> lines = block.lines().filter(line -> !line.isBlank() && !line.matches("\\s+(at |\\.\\.\\. ).*"))
                .map(line -> named(line).strip().replaceAll("\\s+", " ")).collect(Collectors.toList());
            lines.sort(Comparator.comparing((String line) -> !line.matches("(GROUP|TOPIC) .*")).thenComparing(line -> line));
            if (!lines.isEmpty()) blocks.add(String.join("\n", lines));
        }
        Collections.sort(blocks);
        return blocks;
    }

    /** The tool lists options and states from hash sets. */
    static String listsSorted(String text) {
        return Pattern.compile("[^ ,\n]+(, [^ ,\n]+)+").matcher(text).replaceAll(list ->
            Stream.of(list.group().split(", ")).map(item -> item.replaceAll("[\\[\\]]", "")).sorted().collect(Collectors.joining(", ")));
    }

    /** Groups that were deleted together are a hash map's keys. */
    static String groupsSorted(String text) {
        return Pattern.compile("(?<=\\()'[^()]*'(?=\\))").matcher(text).replaceAll(list ->
            Stream.of(list.group().split(", ")).sorted().collect(Collectors.joining(", ")));
    }

    static void committed(String group) throws Exception {
        call("committed by " + group, () -> sorted(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get()));
    }

    static void call(String what, Callable<Object> called) throws Exception {
        say("> " + what);
        try {
            Object result = called.call();
            if (result instanceof KafkaFuture<?> future) result = future.get();
            for (Object line : result instanceof Collection<?> all ? all : List.of(String.valueOf(result))) say(line.toString());
        } catch (ExecutionException error) {
            for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) say("! " + cause);
        } catch (Exception error) {
            say("! " + error);
        }
        say("");
    }

    static List<String> sorted(Collection<?> values) {
        return values.stream().map(String::valueOf).map(GroupTools::partitionsSorted).map(GroupTools::named).sorted().toList();
    }

    /** A member's partitions are a hash set too. */
    static String partitionsSorted(String text) {
        return Pattern.compile("(?<=topicPartitions=)[^)]*").matcher(text).replaceAll(list ->
            Stream.of(list.group().split(",")).sorted().collect(Collectors.joining(",")));
    }

    static List<String> sorted(Map<?, ?> values) {
        return values.entrySet().stream().map(entry -> entry.getKey() + ": "
            + (entry.getValue() instanceof Map<?, ?> inner ? sorted(inner) : entry.getValue())).sorted().toList();
    }

    static String named(String text) {
        for (var name : names.entrySet()) text = text.replace(name.getKey(), name.getValue());
        return text;
    }

    static void say(String line) {
        Transcript.out.println(named(line).stripTrailing());
    }

    static String[] join(String[]... parts) {
        return Stream.of(parts).flatMap(Stream::of).toArray(String[]::new);
    }
}
