import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;

/** The admin client's calls that came with 3.x. */
final class AdminSince3 {
    static final Admin admin = Client.admin;

    static void run() {
        Capability.of("admin describeTopics by name and id", () -> {
            var found = Client.done(admin.describeTopics(TopicCollection.ofTopicNames(List.of(Client.topic))).allTopicNames()).get(Client.topic);
            Capability.same(found.partitions().size(), 2);
            var id = found.topicId();
            Capability.same(Client.done(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id).name(), Client.topic);
        });
        Capability.of("admin deleteTopics by id", () -> {
            String topic = Client.newTopic("deleted", 1);
            var id = Client.done(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).topicId();
            Client.done(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        });
        Capability.of("admin listOffsets of the maximum timestamp", () -> {
            var found = Client.done(admin.listOffsets(Map.of(Client.first, OffsetSpec.maxTimestamp())).all()).get(Client.first);
            Capability.same(found.offset(), 9L);
            Capability.same(found.timestamp(), Client.NOW + 18);
        });
        Capability.of("admin listConsumerGroupOffsets of several groups", () -> {
            String one = Client.closedGroup(), other = Client.closedGroup();
            var all = new ListConsumerGroupOffsetsSpec();
            var some = new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(Client.second));
            var found = Client.done(admin.listConsumerGroupOffsets(Map.of(one, all, other, some)).all());
            Capability.same(found.get(one).size(), 2);
            Capability.same(found.get(other).keySet(), Set.of(Client.second));
        });
        Capability.of("admin describeMetadataQuorum",
            () -> Capability.same(Client.done(admin.describeMetadataQuorum().quorumInfo()).voters().size(), Client.bootstrap.split(",").length));
        Capability.of("admin updateFeatures of one that Kafka has not", () -> Capability.refused("InvalidUpdateVersionException", () ->
            Client.done(admin.updateFeatures(Map.of("no.such.feature", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)),
                new UpdateFeaturesOptions()).all())));
        Capability.of("admin addRaftVoter of a stranger",
            () -> refusedWith(() -> Client.done(admin.addRaftVoter(99, Uuid.randomUuid(),
                Set.of(new RaftVoterEndpoint("CONTROLLER", "127.0.0.1", 9))).all())));
        Capability.of("admin removeRaftVoter of a stranger",
            () -> refusedWith(() -> Client.done(admin.removeRaftVoter(99, Uuid.randomUuid()).all())));
        Capability.of("admin describeFeatures of the kinds of groups", () -> {
            var found = Client.done(admin.describeFeatures().featureMetadata());
            Capability.check(found.supportedFeatures().containsKey("group.version"), found);
        });
        transactions();
    }

    /** Kafka gives one error or another, depending on how its quorum was formatted. */
    static void refusedWith(Capability.Body body) throws Exception {
        try {
            body.run();
        } catch (java.util.concurrent.ExecutionException error) {
            boolean unsupported = error.getCause().getMessage().contains("does not support");
            Capability.check(!unsupported, error);
            return;
        }
        throw new AssertionError("not refused");
    }

    static void transactions() {
        Capability.of("admin listTransactions of all", () -> Client.done(admin.listTransactions().all()));
        Capability.of("admin describeTransactions", () -> Capability.refused("TransactionalIdNotFoundException",
            () -> Client.done(admin.describeTransactions(List.of(Capability.unique("transaction"))).all())));
        Capability.of("admin describeProducers", () -> {
            String topic = Client.newTopic("producers", 1);
            Client.produce(Map.of("enable.idempotence", "true"), Client.plain(topic, 3, 1));
            var partition = new TopicPartition(topic, 0);
            var found = Client.done(admin.describeProducers(List.of(partition)).partitionResult(partition));
            Capability.same(found.activeProducers().size(), 1);
        });
        Capability.of("admin fenceProducers", () -> {
            String id = Capability.unique("transaction");
            Client.done(admin.fenceProducers(List.of(id)).all());
        });
        Capability.of("admin abortTransaction", () -> {
            String topic = Client.newTopic("aborted", 1);
            var partition = new TopicPartition(topic, 0);
            try (var producer = Client.producer(Map.of("transactional.id", Capability.unique("transaction"), "max.block.ms", "10000"))) {
                producer.initTransactions();
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(topic, Client.bytes("v"))).get();
                var active = Client.done(admin.describeProducers(List.of(partition)).partitionResult(partition)).activeProducers().get(0);
                var spec = new AbortTransactionSpec(partition, active.producerId(), (short) active.producerEpoch(),
                    active.coordinatorEpoch().orElse(-1));
                Client.done(admin.abortTransaction(spec).all());
                Capability.same(Client.done(admin.listOffsets(Map.of(partition, OffsetSpec.latest()),
                    new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).all()).get(partition).offset(), 2L);
            }
        });
        Capability.of("admin listClientMetricsResources of all", () -> Client.done(admin.listClientMetricsResources().all()));
    }

    private AdminSince3() {}
}
