import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The admin client's calls that came with 4.x; those of share groups and of Kafka Streams' groups among them. */
final class AdminSince4 {
    static final Admin admin = Client.admin;

    static void run() {
        Capability.of("admin listGroups of all", () -> {
            String group = Client.closedGroup();
            Capability.check(Client.done(admin.listGroups().all()).stream().anyMatch(listed -> listed.groupId().equals(group)), "not listed");
        });
        Capability.of("admin listConfigResources of all", () -> {
            var found = Client.done(admin.listConfigResources().all());
            Capability.check(found.contains(new ConfigResource(ConfigResource.Type.TOPIC, Client.topic)), found);
        });
        Capability.of("admin describeClassicGroups", () -> {
            String group = Client.closedGroup();
            Capability.same(Client.done(admin.describeClassicGroups(List.of(group)).all()).get(group).members().size(), 0);
        });
        Capability.of("admin forceTerminateTransaction",
            () -> Client.done(admin.forceTerminateTransaction(Capability.unique("transaction")).result()));
        Capability.of("admin unregisterController of one that is not there", () -> Capability.refused("ApiException",
            () -> Client.done(admin.unregisterController(99).all())));
        Capability.of("subscribe by pattern of the broker (RE2), KIP-848", () -> {
            String prefix = Capability.unique("pattern");
            for (String suffix : List.of("-a", "-b")) Client.produce(Map.of(), Client.plain(prefix + suffix, 5, 1));
            try (var consumer = Client.consumer(Capability.unique("group"), "group.protocol", "consumer")) {
                consumer.subscribe(new SubscriptionPattern(prefix + "-.*"));
                Client.take(consumer, 10);
            }
        });
        shareGroups();
        streamsGroups();
    }

    static String newShareGroup() throws Exception {
        String group = Capability.unique("share");
        var earliest = new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET);
        Client.done(admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, group), List.of(earliest))).all());
        try (var consumer = new KafkaShareConsumer<>(Map.of("bootstrap.servers", Client.bootstrap, "group.id", group),
                new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(Client.topic));
            int[] count = {0};
            Capability.until("every record", () -> {
                count[0] += consumer.poll(Duration.ofMillis(100)).count();
                return count[0] >= 20;
            });
            consumer.commitSync();
        }
        return group;
    }

    static void shareGroups() {
        Capability.of("share group", () -> newShareGroup());
        Capability.of("admin describeShareGroups", () -> {
            String group = newShareGroup();
            Capability.same(Client.done(admin.describeShareGroups(List.of(group)).all()).get(group).members().size(), 0);
        });
        Capability.of("admin listShareGroupOffsets", () -> {
            String group = newShareGroup();
            Capability.until("the offset has moved", () -> {
                var found = Client.done(admin.listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec())).partitionsToOffsetInfo(group));
                return found.containsKey(Client.first) && found.containsKey(Client.second);
            });
        });
        Capability.of("admin alterShareGroupOffsets",
            () -> Client.done(admin.alterShareGroupOffsets(newShareGroup(), Map.of(Client.first, 3L)).all()));
        Capability.of("admin deleteShareGroupOffsets",
            () -> Client.done(admin.deleteShareGroupOffsets(newShareGroup(), Set.of(Client.topic)).all()));
        Capability.of("admin deleteShareGroups", () -> Client.done(admin.deleteShareGroups(List.of(newShareGroup())).all()));
    }

    static void streamsGroups() {
        String group = "no-such-group";
        Capability.of("admin describeStreamsGroups of one that is not there", () -> Capability.refused("GroupIdNotFoundException",
            () -> Client.done(admin.describeStreamsGroups(List.of(group)).all())));
        Capability.of("admin listStreamsGroupOffsets of one that is not there", () -> Capability.same(
            Client.done(admin.listStreamsGroupOffsets(Map.of(group, new ListStreamsGroupOffsetsSpec())).all()).get(group), Map.of()));
        Capability.of("admin alterStreamsGroupOffsets", () -> Client.done(
            admin.alterStreamsGroupOffsets(Capability.unique("streams"), Map.of(Client.first, new OffsetAndMetadata(3))).all()));
        Capability.of("admin deleteStreamsGroupOffsets of one that is not there", () -> Capability.refused("GroupIdNotFoundException",
            () -> Client.done(admin.deleteStreamsGroupOffsets(group, Set.of(Client.first)).all())));
        Capability.of("admin deleteStreamsGroups of one that is not there", () -> Capability.refused("GroupIdNotFoundException",
            () -> Client.done(admin.deleteStreamsGroups(List.of(group)).all())));
    }

    private AdminSince4() {}
}
