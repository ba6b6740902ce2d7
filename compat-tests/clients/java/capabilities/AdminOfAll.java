import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.resource.*;

/** The admin client's calls that all versions have. */
final class AdminOfAll {
    static final Admin admin = Client.admin;
    static final TopicPartition first = Client.first, second = Client.second;
    static final ConfigResource.Type TOPIC = ConfigResource.Type.TOPIC, BROKER = ConfigResource.Type.BROKER;

    static void run() throws Exception {
        topics();
        configs();
        groups();
        partitions();
        security();
        cluster();
    }

    static Collection<String> topicNames() throws Exception {
        return Client.done(admin.listTopics().names());
    }

    static void topics() {
        Capability.of("admin createTopics", () -> {
            String topic = Client.newTopic("created", 3, "retention.ms", "123456");
            Capability.refused("TopicExistsException", () -> Client.done(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all()));
        });
        Capability.of("admin createTopics with defaults", () -> {
            String topic = Capability.unique("created");
            var created = admin.createTopics(List.of(new NewTopic(topic, Optional.empty(), Optional.empty())));
            Capability.same(Client.done(created.numPartitions(topic)), 1);
            Capability.check(Client.done(created.config(topic)).get("cleanup.policy") != null, "no configuration");
        });
        Capability.of("admin createTopics validated only", () -> {
            String topic = Capability.unique("not-created");
            var options = new CreateTopicsOptions().validateOnly(true);
            Client.done(admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1)), options).all());
            Capability.check(!topicNames().contains(topic), topic);
        });
        Capability.of("admin listTopics of all", () -> {
            Capability.check(topicNames().contains(Client.topic), "not listed");
            Capability.check(Client.done(admin.listTopics(new ListTopicsOptions().listInternal(true)).listings()).size() > 0, "none");
        });
        Capability.of("admin deleteTopics", () -> {
            String topic = Client.newTopic("deleted", 1);
            Client.done(admin.deleteTopics(List.of(topic)).all());
            Capability.until("gone", () -> !topicNames().contains(topic));
        });
        Capability.of("admin createPartitions", () -> {
            String topic = Client.newTopic("grown", 1);
            Client.done(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all());
            try (var consumer = Client.consumer(null)) {
                Capability.until("five partitions", () -> consumer.partitionsFor(topic).size() == 5);
            }
        });
        Capability.of("admin deleteRecords", () -> {
            String topic = Client.newTopic("shortened", 1);
            Client.produce(Map.of(), Client.plain(topic, 10, 1));
            var partition = new TopicPartition(topic, 0);
            var deleted = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4))).lowWatermarks();
            Capability.same(Client.done(deleted.get(partition)).lowWatermark(), 4L);
        });
        Capability.of("admin listOffsets", () -> {
            var found = Client.done(admin.listOffsets(Map.of(first, OffsetSpec.earliest(), second, OffsetSpec.latest())).all());
            Capability.same(found.get(first).offset(), 0L);
            Capability.same(found.get(second).offset(), 10L);
            found = Client.done(admin.listOffsets(Map.of(first, OffsetSpec.forTimestamp(Client.NOW + 5))).all());
            Capability.same(found.get(first).offset(), 3L);
        });
    }

    static void alter(ConfigResource.Type type, String name, String key, String value, AlterConfigOp.OpType operation) throws Exception {
        var change = new AlterConfigOp(new ConfigEntry(key, value), operation);
        Client.done(admin.incrementalAlterConfigs(Map.of(new ConfigResource(type, name), List.of(change))).all());
    }

    static String brokerId() throws Exception {
        return Client.done(admin.describeCluster().controller()).idString();
    }

    static void configs() {
        Capability.of("admin describeConfigs of a topic", () ->
            Capability.same(Client.configOf(TOPIC, Client.newTopic("configured", 1, "retention.ms", "123456"), "retention.ms"), "123456"));
        Capability.of("admin describeConfigs of a broker",
            () -> Capability.same(Client.configOf(BROKER, brokerId(), "log.retention.hours"), "168"));
        Capability.of("admin describeConfigs of the brokers' default",
            () -> Capability.same(Client.configOf(BROKER, "", "log.retention.hours"), null));
        Capability.of("admin describeConfigs of loggers",
            () -> Client.configOf(ConfigResource.Type.BROKER_LOGGER, brokerId(), "root"));
        Capability.of("admin describeConfigs with synonyms and documentation", () -> {
            var resource = new ConfigResource(TOPIC, Client.topic);
            var options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
            var entry = Client.done(admin.describeConfigs(List.of(resource), options).all()).get(resource).get("retention.bytes");
            Capability.check(!entry.synonyms().isEmpty() && !entry.documentation().isEmpty(), entry);
        });
        Capability.of("admin incrementalAlterConfigs of a topic", () -> {
            String topic = Client.newTopic("altered", 1);
            alter(TOPIC, topic, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
            Capability.until("altered", () -> "delete,compact".equals(Client.configOf(TOPIC, topic, "cleanup.policy")));
            alter(TOPIC, topic, "cleanup.policy", null, AlterConfigOp.OpType.DELETE);
            Capability.until("back", () -> "delete".equals(Client.configOf(TOPIC, topic, "cleanup.policy")));
        });
        Capability.of("admin incrementalAlterConfigs of a broker", () -> {
            alter(BROKER, brokerId(), "log.cleaner.backoff.ms", "14000", AlterConfigOp.OpType.SET);
            Capability.until("altered", () -> "14000".equals(Client.configOf(BROKER, brokerId(), "log.cleaner.backoff.ms")));
            alter(BROKER, brokerId(), "log.cleaner.backoff.ms", null, AlterConfigOp.OpType.DELETE);
        });
    }

    static boolean isListed(String group) throws Exception {
        return Client.done(admin.listConsumerGroups().valid()).stream().anyMatch(listed -> listed.groupId().equals(group));
    }

    static void groups() {
        Capability.of("admin listConsumerGroups of all", () -> {
            String group = Client.closedGroup();
            Capability.check(isListed(group), "not listed");
            Capability.check(Client.done(admin.listConsumerGroups().errors()).isEmpty(), "errors");
        });
        Capability.of("admin describeConsumerGroups", () -> {
            String group = Capability.unique("described");
            try (var consumer = Client.reading(group)) {
                var options = new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true);
                var found = Client.done(admin.describeConsumerGroups(List.of(group), options).all()).get(group);
                Capability.same(found.members().size(), 1);
                Capability.same(found.members().iterator().next().assignment().topicPartitions(), Set.of(first, second));
                Capability.check(!found.authorizedOperations().isEmpty(), found);
            }
        });
        Capability.of("admin listConsumerGroupOffsets of all partitions", () -> {
            var found = Client.done(admin.listConsumerGroupOffsets(Client.closedGroup()).partitionsToOffsetAndMetadata());
            Capability.same(found.get(first).offset() + found.get(second).offset(), 20L);
        });
        Capability.of("admin alterConsumerGroupOffsets", () -> {
            String group = Client.closedGroup();
            Client.done(admin.alterConsumerGroupOffsets(group, Map.of(first, new OffsetAndMetadata(7))).all());
            Capability.same(Client.committed(group, first), 7L);
        });
        Capability.of("admin deleteConsumerGroupOffsets", () -> {
            String group = Client.closedGroup();
            Client.done(admin.deleteConsumerGroupOffsets(group, Set.of(first)).all());
            Capability.same(Client.committed(group, first), null);
        });
        Capability.of("admin removeMembersFromConsumerGroup", () -> {
            String group = Capability.unique("static");
            Client.reading(group, "group.instance.id", "one").close();
            var options = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")));
            Client.done(admin.removeMembersFromConsumerGroup(group, options).all());
            Capability.same(Client.done(admin.describeConsumerGroups(List.of(group)).all()).get(group).members().size(), 0);
        });
        Capability.of("admin removeMembersFromConsumerGroup of all", () -> {
            String group = Capability.unique("static");
            Client.reading(group, "group.instance.id", "one").close();
            Client.done(admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all());
            Capability.same(Client.done(admin.describeConsumerGroups(List.of(group)).all()).get(group).members().size(), 0);
        });
        Capability.of("admin deleteConsumerGroups", () -> {
            String group = Client.closedGroup();
            Client.done(admin.deleteConsumerGroups(List.of(group)).all());
            Capability.check(!isListed(group), "still listed");
        });
    }

    static void partitions() {
        Capability.of("admin electLeaders", () ->
            Capability.refused("ElectionNotNeededException", () ->
                Client.done(admin.electLeaders(ElectionType.PREFERRED, Set.of(first)).partitions()).get(first).ifPresent(error -> {
                    throw new java.util.concurrent.CompletionException(error);
                })));
        Capability.of("admin electLeaders of all",
            () -> Client.done(admin.electLeaders(ElectionType.PREFERRED, null).partitions()));
        Capability.of("admin listPartitionReassignments of all",
            () -> Capability.check(Client.done(admin.listPartitionReassignments().reassignments()).isEmpty(), "some"));
        Capability.of("admin alterPartitionReassignments", () -> {
            List<Integer> replicas = new ArrayList<>();
            try (var producer = Client.producer(Map.of())) {
                for (var partition : producer.partitionsFor(Client.topic))
                    if (partition.partition() == 0) for (var replica : partition.replicas()) replicas.add(replica.id());
            }
            Client.done(admin.alterPartitionReassignments(Map.of(first, Optional.of(new NewPartitionReassignment(replicas)))).all());
            Capability.refused("NoReassignmentInProgressException",
                () -> Client.done(admin.alterPartitionReassignments(Map.of(first, Optional.empty())).all()));
        });
        Capability.of("admin describeLogDirs of all", () -> {
            int broker = Integer.parseInt(brokerId());
            var found = Client.done(admin.describeLogDirs(List.of(broker)).allDescriptions()).get(broker);
            Capability.check(found.values().stream().anyMatch(dir -> dir.replicaInfos().containsKey(first)), found);
        });
        Capability.of("admin describeReplicaLogDirs", () -> {
            var replica = new TopicPartitionReplica(Client.topic, 0, Integer.parseInt(brokerId()));
            var found = Client.done(admin.describeReplicaLogDirs(List.of(replica)).all()).get(replica);
            Capability.check(found.getCurrentReplicaLogDir() != null, found);
        });
        Capability.of("admin alterReplicaLogDirs", () -> {
            var replica = new TopicPartitionReplica(Client.topic, 0, Integer.parseInt(brokerId()));
            Capability.refused("LogDirNotFoundException", () -> Client.done(admin.alterReplicaLogDirs(Map.of(replica, "/no/such")).all()));
        });
    }

    static void security() {
        Capability.of("admin describeAcls without an authorizer",
            () -> Capability.refused("SecurityDisabledException", () -> Client.done(admin.describeAcls(AclBindingFilter.ANY).values())));
        Capability.of("admin createAcls without an authorizer", () -> {
            var acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, Client.topic, PatternType.LITERAL),
                new AccessControlEntry("User:ann", "*", AclOperation.READ, AclPermissionType.ALLOW));
            Capability.refused("SecurityDisabledException", () -> Client.done(admin.createAcls(List.of(acl)).all()));
        });
        Capability.of("admin deleteAcls without an authorizer",
            () -> Capability.refused("SecurityDisabledException", () -> Client.done(admin.deleteAcls(List.of(AclBindingFilter.ANY)).all())));
        Capability.of("admin describeClientQuotas of all",
            () -> Client.done(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()));
        Capability.of("admin alterClientQuotas", () -> {
            var entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.USER, Capability.unique("user")));
            var change = new ClientQuotaAlteration(entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e6)));
            Client.done(admin.alterClientQuotas(List.of(change)).all());
            Capability.until("the quota is there",
                () -> Client.done(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()).containsKey(entity));
            var removal = new ClientQuotaAlteration(entity, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", null)));
            Client.done(admin.alterClientQuotas(List.of(removal)).all());
        });
        Capability.of("admin describeUserScramCredentials of all",
            () -> Client.done(admin.describeUserScramCredentials().all()));
        Capability.of("admin describeUserScramCredentials of one", () -> Capability.refused("ResourceNotFoundException",
            () -> Client.done(admin.describeUserScramCredentials(List.of("nobody")).description("nobody"))));
        Capability.of("admin alterUserScramCredentials", () -> {
            String user = Capability.unique("user");
            var info = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096);
            Client.done(admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(user, info, "secret"))).all());
            Capability.until("the user is there", () -> Client.done(admin.describeUserScramCredentials().all()).containsKey(user));
            Client.done(admin.alterUserScramCredentials(List.of(new UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256))).all());
        });
        // Kafka refuses all of them to who has not logged in.
        Capability.of("admin createDelegationToken without a login", () -> refusedToken(() -> Client.done(admin.createDelegationToken().delegationToken())));
        Capability.of("admin describeDelegationToken without a login", () -> refusedToken(() -> Client.done(admin.describeDelegationToken().delegationTokens())));
        Capability.of("admin renewDelegationToken without a login", () -> refusedToken(() -> Client.done(admin.renewDelegationToken(new byte[1]).expiryTimestamp())));
        Capability.of("admin expireDelegationToken without a login", () -> refusedToken(() -> Client.done(admin.expireDelegationToken(new byte[1]).expiryTimestamp())));
    }

    static void refusedToken(Capability.Body body) throws Exception {
        Capability.refused("UnsupportedByAuthenticationException", body);
    }

    static void cluster() {
        Capability.of("admin describeCluster", () -> {
            var found = admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
            Capability.same(Client.done(found.nodes()).size(), Client.bootstrap.split(",").length);
            Capability.check(Client.done(found.clusterId()) != null && !Client.done(found.authorizedOperations()).isEmpty(), "incomplete");
        });
        Capability.of("admin describeFeatures", () -> {
            var found = Client.done(admin.describeFeatures().featureMetadata());
            Capability.check(found.finalizedFeatures().containsKey("metadata.version"), found);
        });
        Capability.of("admin unregisterBroker of one that is not there",
            () -> Capability.refused("BrokerIdNotRegisteredException", () -> Client.done(admin.unregisterBroker(99).all())));
    }

    private AdminOfAll() {}
}
