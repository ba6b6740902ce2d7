package main

import (
	"slices"
	"strings"

	"github.com/IBM/sarama"

	"ottla/compat-tests/capability"
)

func answered(name string, call func() error) { capability.Of("admin "+name, call) }

func refused(name string, expected error, call func() error) {
	capability.Of("admin "+name, func() error { return capability.Refused(call(), expected) })
}

func found[T any](name string, call func() (T, error), check func(T) bool) {
	capability.Of(name, func() error {
		answer, err := call()
		if err != nil {
			return err
		}
		return capability.Check(check(answer), answer)
	})
}

func one() string { return newTopic("admin", 1) }

func adminCalls() {
	topicCalls()
	configCalls()
	groupCalls()
	clusterCalls()
	clientCalls()
}

func topicCalls() {
	detail := &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}
	answered("CreateTopic", func() error { return admin.CreateTopic(capability.Unique("created"), detail, false) })
	answered("CreateTopic validated only", func() error { return admin.CreateTopic(capability.Unique("created"), detail, true) })
	refused("CreateTopic of one that is there", sarama.ErrTopicAlreadyExists, func() error { return admin.CreateTopic(topic, detail, false) })
	found("admin ListTopics of all", admin.ListTopics, func(topics map[string]sarama.TopicDetail) bool { return topics[topic].NumPartitions == 2 })
	found("admin DescribeTopics", func() ([]*sarama.TopicMetadata, error) { return admin.DescribeTopics([]string{topic}) },
		func(topics []*sarama.TopicMetadata) bool { return len(topics[0].Partitions) == 2 })
	found("admin DescribeTopics of all", func() ([]*sarama.TopicMetadata, error) { return admin.DescribeTopics(nil) },
		func(topics []*sarama.TopicMetadata) bool { return len(topics) > 1 })
	answered("DeleteTopic", func() error { return admin.DeleteTopic(one()) })
	answered("CreatePartitions", func() error { return admin.CreatePartitions(one(), 5, nil, false) })
	answered("DeleteRecords", func() error {
		topic := one()
		if err := produce(plain(topic, 10, 1)); err != nil {
			return err
		}
		if err := admin.DeleteRecords(topic, map[int32]int64{0: 4}); err != nil {
			return err
		}
		messages, err := read(topic, 0, sarama.OffsetOldest, 6)
		if err != nil {
			return err
		}
		return capability.Same(messages[0].Offset, 4)
	})
	offsets := func(first, second int64) (map[string]map[int32]*sarama.OffsetResult, error) {
		return admin.ListOffsets(map[string]map[int32]int64{topic: {0: first, 1: second}}, nil)
	}
	found("admin ListOffsets", func() (map[string]map[int32]*sarama.OffsetResult, error) {
		return offsets(sarama.OffsetOldest, sarama.OffsetNewest)
	},
		func(answer map[string]map[int32]*sarama.OffsetResult) bool {
			return answer[topic][0].Offset == 0 && answer[topic][1].Offset == 10
		})
	found("offsets for times", func() (map[string]map[int32]*sarama.OffsetResult, error) {
		return offsets(now.UnixMilli()+5, now.UnixMilli()+1_000_000)
	}, func(answer map[string]map[int32]*sarama.OffsetResult) bool {
		return answer[topic][0].Offset == 3 && answer[topic][1].Offset == -1
	})
}

func configCalls() {
	value := func(entries []sarama.ConfigEntry, name string) string {
		for _, entry := range entries {
			if entry.Name == name {
				return entry.Value
			}
		}
		return ""
	}
	describe := func(kind sarama.ConfigResourceType, name string) ([]sarama.ConfigEntry, error) {
		return admin.DescribeConfig(sarama.ConfigResource{Type: kind, Name: name})
	}
	found("admin DescribeConfig of a topic", func() ([]sarama.ConfigEntry, error) { return describe(sarama.TopicResource, topic) },
		func(entries []sarama.ConfigEntry) bool { return value(entries, "cleanup.policy") == "delete" })
	found("admin DescribeConfig of a broker", func() ([]sarama.ConfigEntry, error) { return describe(sarama.BrokerResource, "1") },
		func(entries []sarama.ConfigEntry) bool { return value(entries, "log.retention.hours") == "168" })
	resources := []*sarama.ConfigResource{{Type: sarama.TopicResource, Name: ""}, {Type: sarama.BrokerResource, Name: "1"}}
	found("admin DescribeConfigs with synonyms and documentation", func() ([]*sarama.ConfigResourceResult, error) {
		resources[0].Name = topic
		return admin.DescribeConfigs(resources, sarama.DescribeConfigsOptions{IncludeSynonyms: true, IncludeDocumentation: true})
	}, func(answer []*sarama.ConfigResourceResult) bool { return len(answer) == 2 })
	milliseconds, compact := "14000", "compact"
	answered("AlterConfig", func() error {
		return admin.AlterConfig(sarama.TopicResource, one(), map[string]*string{"retention.ms": &milliseconds}, false)
	})
	change := func(operation sarama.IncrementalAlterConfigsOperation, key string, value *string) map[string]sarama.IncrementalAlterConfigsEntry {
		return map[string]sarama.IncrementalAlterConfigsEntry{key: {Operation: operation, Value: value}}
	}
	answered("IncrementalAlterConfig of a topic", func() error {
		topic := one()
		err := admin.IncrementalAlterConfig(sarama.TopicResource, topic, change(sarama.IncrementalAlterConfigsOperationAppend, "cleanup.policy", &compact), false)
		if err != nil {
			return err
		}
		return capability.Until("altered", func() bool {
			entries, err := describe(sarama.TopicResource, topic)
			return err == nil && value(entries, "cleanup.policy") == "delete,compact"
		})
	})
	answered("IncrementalAlterConfig of a broker", func() error {
		err := admin.IncrementalAlterConfig(sarama.BrokerResource, "1", change(sarama.IncrementalAlterConfigsOperationSet, "log.cleaner.backoff.ms", &milliseconds), false)
		if err != nil {
			return err
		}
		return admin.IncrementalAlterConfig(sarama.BrokerResource, "1", change(sarama.IncrementalAlterConfigsOperationDelete, "log.cleaner.backoff.ms", nil), false)
	})
}

func groupCalls() {
	group := closedGroup()
	found("admin ListConsumerGroups of all", admin.ListConsumerGroups, func(groups map[string]string) bool { return groups[group] == "consumer" })
	found("admin DescribeConsumerGroups", func() ([]*sarama.GroupDescription, error) { return admin.DescribeConsumerGroups([]string{group}) },
		func(groups []*sarama.GroupDescription) bool { return groups[0].State == "Empty" })
	found("admin ListConsumerGroupOffsets of all partitions", func() (*sarama.OffsetFetchResponse, error) { return admin.ListConsumerGroupOffsets(group, nil) },
		func(answer *sarama.OffsetFetchResponse) bool { return answer.GetBlock(topic, 0).Offset == 10 })
	found("admin ListConsumerGroupOffsets", func() (*sarama.OffsetFetchResponse, error) {
		return admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {1}})
	}, func(answer *sarama.OffsetFetchResponse) bool { return answer.GetBlock(topic, 1).Offset == 10 })
	found("admin ListConsumerGroupOffsetsBatch", func() (map[string]*sarama.OffsetFetchResponseGroup, error) {
		return admin.ListConsumerGroupOffsetsBatch(map[string]map[string][]int32{group: nil, closedGroup(): {topic: {0}}})
	}, func(answer map[string]*sarama.OffsetFetchResponseGroup) bool { return len(answer) == 2 })
	answered("AlterConsumerGroupOffsets", func() error {
		group := closedGroup()
		offsets := map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: 3, LeaderEpoch: -1}}}
		if _, err := admin.AlterConsumerGroupOffsets(group, offsets, nil); err != nil {
			return err
		}
		return capability.Same(committed(group), map[int32]int64{0: 3, 1: 10})
	})
	answered("DeleteConsumerGroupOffset", func() error {
		group := closedGroup()
		if err := admin.DeleteConsumerGroupOffset(group, topic, 0); err != nil {
			return err
		}
		return capability.Same(committed(group), map[int32]int64{1: 10})
	})
	answered("DeleteConsumerGroup", func() error { return admin.DeleteConsumerGroup(closedGroup()) })
	answered("RemoveMemberFromConsumerGroup", func() error {
		group := capability.Unique("static")
		joined, err := join(group, []string{topic}, false, func(config *sarama.Config) { config.Consumer.Group.InstanceId = "one" })
		if err != nil {
			return err
		}
		if _, err := joined.take(20); err != nil {
			return err
		}
		joined.leave()
		answer, err := admin.RemoveMemberFromConsumerGroup(group, []string{"one"})
		if err != nil {
			return err
		}
		return capability.Check(answer.Err == sarama.ErrNoError && answer.Members[0].Err == sarama.ErrNoError, answer)
	})
	found("admin Coordinator", func() (*sarama.Broker, error) { return admin.Coordinator(group) }, isOne)
}

// isOne says whether it is a broker.
func isOne(broker *sarama.Broker) bool { return 1 <= broker.ID() && int(broker.ID()) <= len(brokers) }

// replicas gives the brokers that have a partition of the topic.
func replicas(partition int32) []int32 {
	client, err := sarama.NewClient(brokers, config())
	capability.Must(err)
	defer client.Close()
	found, err := client.Replicas(topic, partition)
	capability.Must(err)
	return found
}

func clusterCalls() {
	answered("DescribeCluster", func() error {
		found, controller, err := admin.DescribeCluster()
		if err != nil {
			return err
		}
		isThere := func(broker *sarama.Broker) bool { return broker.ID() == controller }
		return capability.Check(len(found) == len(brokers) && slices.ContainsFunc(found, isThere), found, controller)
	})
	found("admin Controller", admin.Controller, isOne)
	found("admin DescribeLogDirs of all", func() (map[int32][]sarama.DescribeLogDirsResponseDirMetadata, error) {
		return admin.DescribeLogDirs([]int32{1})
	},
		func(answer map[int32][]sarama.DescribeLogDirsResponseDirMetadata) bool {
			return len(answer[1][0].Topics) > 0
		})
	answered("ElectLeaders", func() error {
		answer, err := admin.ElectLeaders(sarama.PreferredElection, map[string][]int32{topic: {0}})
		if err != nil {
			return err
		}
		return capability.Same(answer[topic][0].ErrorCode, sarama.ErrElectionNotNeeded)
	})
	answered("AlterPartitionReassignments", func() error { return admin.AlterPartitionReassignments(topic, [][]int32{replicas(0), replicas(1)}) })
	found("admin ListPartitionReassignments", func() (map[string]map[int32]*sarama.PartitionReplicaReassignmentsStatus, error) {
		return admin.ListPartitionReassignments(topic, []int32{0, 1})
	}, func(answer map[string]map[int32]*sarama.PartitionReplicaReassignmentsStatus) bool {
		return len(answer[topic]) == 0
	})
	answered("UpdateFeatures of one that Kafka has not", func() error {
		answer, err := admin.UpdateFeatures([]sarama.FeatureUpdate{{Feature: "no.such.feature", MaxVersionLevel: 1}})
		if err != nil {
			return capability.Refused(err, sarama.ErrInvalidUpdateVersion)
		}
		return capability.Same(answer[0].ErrorCode, sarama.ErrInvalidUpdateVersion)
	})

	resource := sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: topic, ResourcePatternType: sarama.AclPatternLiteral}
	acl := sarama.Acl{Principal: "User:ann", Host: "*", Operation: sarama.AclOperationRead, PermissionType: sarama.AclPermissionAllow}
	anything := sarama.AclFilter{ResourceType: sarama.AclResourceAny, ResourcePatternTypeFilter: sarama.AclPatternAny, Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny}
	disabled := func(err error) error {
		return capability.Check(err != nil && strings.Contains(err.Error(), "Security features are disabled"), err)
	}
	answered("ListAcls without an authorizer", func() error { _, err := admin.ListAcls(anything); return disabled(err) })
	answered("CreateACL without an authorizer", func() error { return disabled(admin.CreateACL(resource, acl)) })
	answered("CreateACLs without an authorizer", func() error {
		return disabled(admin.CreateACLs([]*sarama.ResourceAcls{{Resource: resource, Acls: []*sarama.Acl{&acl}}}))
	})
	answered("DeleteACL without an authorizer", func() error { _, err := admin.DeleteACL(anything, false); return disabled(err) })

	answered("DescribeClientQuotas of all", func() error { _, err := admin.DescribeClientQuotas(nil, false); return err })
	user := capability.Unique("user")
	answered("AlterClientQuotas", func() error {
		entity := []sarama.QuotaEntityComponent{{EntityType: sarama.QuotaEntityUser, MatchType: sarama.QuotaMatchExact, Name: user}}
		return admin.AlterClientQuotas(entity, sarama.ClientQuotasOp{Key: "producer_byte_rate", Value: 1e6}, false)
	})
	answered("DescribeUserScramCredentials of all", func() error { _, err := admin.DescribeUserScramCredentials(nil); return err })
	answered("UpsertUserScramCredentials", func() error {
		answer, err := admin.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{
			{Name: user, Mechanism: sarama.SCRAM_MECHANISM_SHA_256, Iterations: 4096, Salt: []byte("salt"), Password: []byte("secret")}})
		if err != nil {
			return err
		}
		return capability.Same(answer[0].ErrorCode, sarama.ErrNoError)
	})
	answered("DeleteUserScramCredentials", func() error {
		answer, err := admin.DeleteUserScramCredentials([]sarama.AlterUserScramCredentialsDelete{{Name: user, Mechanism: sarama.SCRAM_MECHANISM_SHA_256}})
		if err != nil {
			return err
		}
		return capability.Same(answer[0].ErrorCode, sarama.ErrNoError)
	})
}

func clientCalls() {
	client, err := sarama.NewClient(brokers, config())
	capability.Must(err)
	id := capability.Unique("transaction")
	group := capability.Unique("group")
	found("client Controller", client.Controller, isOne)
	found("client RefreshController", client.RefreshController, isOne)
	found("client Brokers", func() ([]*sarama.Broker, error) { return client.Brokers(), nil }, func(found []*sarama.Broker) bool { return len(found) == len(brokers) })
	found("client Broker", func() (*sarama.Broker, error) { return client.Broker(1) }, isOne)
	found("client LeastLoadedBroker", func() (*sarama.Broker, error) { return client.LeastLoadedBroker(), nil }, func(broker *sarama.Broker) bool { return broker != nil })
	found("client Topics of all", client.Topics, func(topics []string) bool { return len(topics) > 0 })
	two := func(partitions []int32) bool { return len(partitions) == 2 }
	replica := func(replicas []int32) bool { return 1 <= len(replicas) && len(replicas) <= len(brokers) }
	found("client Partitions", func() ([]int32, error) { return client.Partitions(topic) }, two)
	found("client WritablePartitions", func() ([]int32, error) { return client.WritablePartitions(topic) }, two)
	found("client Leader", func() (*sarama.Broker, error) { return client.Leader(topic, 0) }, isOne)
	capability.Of("client LeaderAndEpoch", func() error {
		broker, epoch, err := client.LeaderAndEpoch(topic, 0)
		if err != nil {
			return err
		}
		return capability.Check(isOne(broker) && epoch == 0, broker, epoch)
	})
	found("client Replicas", func() ([]int32, error) { return client.Replicas(topic, 0) }, replica)
	found("client InSyncReplicas", func() ([]int32, error) { return client.InSyncReplicas(topic, 0) }, replica)
	found("client OfflineReplicas", func() ([]int32, error) { return client.OfflineReplicas(topic, 0) }, func(replicas []int32) bool { return len(replicas) == 0 })
	capability.Of("client RefreshBrokers", func() error { return client.RefreshBrokers(brokers) })
	capability.Of("client RefreshMetadata of all", func() error { return client.RefreshMetadata() })
	found("client GetOffset", func() (int64, error) { return client.GetOffset(topic, 0, sarama.OffsetNewest) }, func(offset int64) bool { return offset == 10 })
	capability.Of("client RefreshCoordinator", func() error { return client.RefreshCoordinator(group) })
	found("client Coordinator", func() (*sarama.Broker, error) { return client.Coordinator(group) }, isOne)
	capability.Of("client RefreshTransactionCoordinator", func() error { return client.RefreshTransactionCoordinator(id) })
	found("client TransactionCoordinator", func() (*sarama.Broker, error) { return client.TransactionCoordinator(id) }, isOne)
	found("client InitProducerID", client.InitProducerID, func(answer *sarama.InitProducerIDResponse) bool { return answer.Err == sarama.ErrNoError })
}
