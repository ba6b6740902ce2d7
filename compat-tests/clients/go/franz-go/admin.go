package main

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"ottla/compat-tests/capability"
)

// answered is for calls whose answer only has to be without an error in any of its parts.
func answered(name string, call func() (any, error)) {
	capability.Of("admin "+name, func() error {
		answer, err := call()
		if err != nil {
			return err
		}
		return capability.Failure(answer)
	})
}

// refused is for calls that Kafka refuses, as a whole or in a part of its answer.
func refused(name string, expected error, call func() (any, error)) {
	capability.Of("admin "+name, func() error {
		answer, err := call()
		if err == nil {
			err = capability.Failure(answer)
		}
		return capability.Refused(err, expected)
	})
}

// found is for calls in whose answer something must be.
func found[T any](name string, call func() (T, error), check func(T) bool) {
	capability.Of("admin "+name, func() error {
		answer, err := call()
		if err != nil {
			return err
		}
		if err := capability.Failure(answer); err != nil {
			return err
		}
		return capability.Check(check(answer), answer)
	})
}

func partitions(topic string, numbers ...int32) kadm.TopicsSet {
	set := kadm.TopicsSet{}
	set.Add(topic, numbers...)
	return set
}

func offset(topic string, partition int32, at int64) kadm.Offsets {
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, partition, at, -1)
	return offsets
}

func adminCalls() {
	topicCalls()
	configCalls()
	offsetCalls()
	groupCalls()
	clusterCalls()
	securityCalls()
	transactionCalls()
	shareGroupCalls()
}

// areAll says whether these are as many brokers as there are.
func areAll(found kadm.BrokerDetails) bool { return len(found) == len(bootstrap) }

// isOne says whether it is a broker.
func isOne(id int32) bool { return 1 <= id && int(id) <= len(bootstrap) }

// replicas gives the brokers that have the topic's first partition.
func replicas() []int32 {
	topics, err := admin.ListTopics(ctx, topic)
	capability.Must(err)
	return topics[topic].Partitions[0].Replicas
}

func topicCalls() {
	has := func(details kadm.TopicDetails) bool { return len(details[topic].Partitions) == 2 }
	found("ListTopics of all", func() (kadm.TopicDetails, error) { return admin.ListTopics(ctx) }, has)
	found("ListTopics of one", func() (kadm.TopicDetails, error) { return admin.ListTopics(ctx, topic) }, has)
	found("ListTopicsWithInternal of all", func() (kadm.TopicDetails, error) { return admin.ListTopicsWithInternal(ctx) }, has)
	found("Metadata of all", func() (kadm.Metadata, error) { return admin.Metadata(ctx) }, func(metadata kadm.Metadata) bool {
		return has(metadata.Topics) && areAll(metadata.Brokers) && metadata.Cluster != "" && slices.Contains(metadata.Brokers.NodeIDs(), metadata.Controller)
	})
	found("BrokerMetadata", func() (kadm.Metadata, error) { return admin.BrokerMetadata(ctx) }, func(metadata kadm.Metadata) bool {
		return areAll(metadata.Brokers) && len(metadata.Topics) == 0
	})
	answered("CreateTopic", func() (any, error) { return create(capability.Unique("created")), nil })
	refused("CreateTopics of one that is there", kerr.TopicAlreadyExists, func() (any, error) { return admin.CreateTopics(ctx, 1, 1, nil, topic) })
	answered("CreateTopics with defaults", func() (any, error) { return admin.CreateTopics(ctx, -1, -1, nil, capability.Unique("created")) })
	answered("ValidateCreateTopics", func() (any, error) { return admin.ValidateCreateTopics(ctx, 3, 1, nil, capability.Unique("created")) })
	answered("DeleteTopic", func() (any, error) { return admin.DeleteTopic(ctx, newTopic("deleted", 1)) })
	answered("DeleteTopics", func() (any, error) { return admin.DeleteTopics(ctx, newTopic("deleted", 1), newTopic("deleted", 1)) })
	answered("CreatePartitions", func() (any, error) { return admin.CreatePartitions(ctx, 2, newTopic("grown", 1)) })
	answered("UpdatePartitions", func() (any, error) { return admin.UpdatePartitions(ctx, 5, newTopic("grown", 1)) })
	answered("ValidateCreatePartitions", func() (any, error) { return admin.ValidateCreatePartitions(ctx, 2, topic) })
	answered("ValidateUpdatePartitions", func() (any, error) { return admin.ValidateUpdatePartitions(ctx, 5, topic) })
	capability.Of("admin DeleteRecords", func() error {
		topic := newTopic("shortened", 1)
		capability.Must(produce(plain(topic, 10, 1)))
		deleted, err := admin.DeleteRecords(ctx, offset(topic, 0, 4))
		if err != nil {
			return err
		}
		return capability.Same(deleted[topic][0].LowWatermark, 4)
	})
}

func configCalls() {
	value := func(answer kadm.ResourceConfigs, key string) string {
		for _, resource := range answer {
			for _, config := range resource.Configs {
				if config.Key == key {
					return config.MaybeValue()
				}
			}
		}
		return ""
	}
	found("DescribeTopicConfigs", func() (kadm.ResourceConfigs, error) { return admin.DescribeTopicConfigs(ctx, topic) },
		func(answer kadm.ResourceConfigs) bool { return value(answer, "cleanup.policy") == "delete" })
	found("DescribeBrokerConfigs", func() (kadm.ResourceConfigs, error) { return admin.DescribeBrokerConfigs(ctx, 1) },
		func(answer kadm.ResourceConfigs) bool { return value(answer, "log.retention.hours") == "168" })
	answered("DescribeBrokerConfigs of all", func() (any, error) { return admin.DescribeBrokerConfigs(ctx) })
	found("ListConfigResources of all", func() (kadm.ListedConfigResources, error) { return admin.ListConfigResources(ctx) },
		func(answer kadm.ListedConfigResources) bool {
			return slices.ContainsFunc(answer.Resources, func(resource kadm.ConfigResource) bool { return resource.Name == topic })
		})
	milliseconds := "14000"
	append_ := []kadm.AlterConfig{{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kmsg.StringPtr("compact")}}
	state := []kadm.AlterConfig{{Name: "retention.ms", Value: &milliseconds}}
	capability.Of("admin AlterTopicConfigs", func() error {
		topic := newTopic("altered", 1)
		answer, err := admin.AlterTopicConfigs(ctx, append_, topic)
		if err != nil {
			return err
		}
		if err := capability.Failure(answer); err != nil {
			return err
		}
		return capability.Until("altered", func() bool {
			described, err := admin.DescribeTopicConfigs(ctx, topic)
			return err == nil && value(described, "cleanup.policy") == "delete,compact"
		})
	})
	answered("ValidateAlterTopicConfigs", func() (any, error) { return admin.ValidateAlterTopicConfigs(ctx, append_, topic) })
	answered("AlterTopicConfigsState", func() (any, error) { return admin.AlterTopicConfigsState(ctx, state, newTopic("altered", 1)) })
	answered("ValidateAlterTopicConfigsState", func() (any, error) { return admin.ValidateAlterTopicConfigsState(ctx, state, topic) })
	backoff := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.cleaner.backoff.ms", Value: &milliseconds}}
	removed := []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "log.cleaner.backoff.ms"}}
	answered("ValidateAlterBrokerConfigs", func() (any, error) { return admin.ValidateAlterBrokerConfigs(ctx, backoff, 1) })
	answered("ValidateAlterBrokerConfigsState", func() (any, error) { return admin.ValidateAlterBrokerConfigsState(ctx, backoff, 1) })
	answered("AlterBrokerConfigs", func() (any, error) { return admin.AlterBrokerConfigs(ctx, backoff, 1) })
	answered("AlterBrokerConfigs back", func() (any, error) { return admin.AlterBrokerConfigs(ctx, removed, 1) })
	answered("AlterBrokerConfigsState", func() (any, error) { return admin.AlterBrokerConfigsState(ctx, nil, 1) })
}

func offsetCalls() {
	listed := func(name string, expected int64, call func(topics ...string) (kadm.ListedOffsets, error)) {
		found(name, func() (kadm.ListedOffsets, error) { return call(topic) }, func(answer kadm.ListedOffsets) bool {
			first, _ := answer.Lookup(topic, 0)
			return first.Offset == expected
		})
		found(name+" of all topics", func() (kadm.ListedOffsets, error) { return call() }, func(answer kadm.ListedOffsets) bool {
			_, found := answer.Lookup(topic, 0)
			return found
		})
	}
	listed("ListStartOffsets", 0, func(topics ...string) (kadm.ListedOffsets, error) { return admin.ListStartOffsets(ctx, topics...) })
	listed("ListEndOffsets", 10, func(topics ...string) (kadm.ListedOffsets, error) { return admin.ListEndOffsets(ctx, topics...) })
	listed("ListCommittedOffsets", 10, func(topics ...string) (kadm.ListedOffsets, error) { return admin.ListCommittedOffsets(ctx, topics...) })
	listed("ListMaxTimestampOffsets", 9, func(topics ...string) (kadm.ListedOffsets, error) {
		return admin.ListMaxTimestampOffsets(ctx, topics...)
	})
	listed("ListLocalLogStartOffsets", 0, func(topics ...string) (kadm.ListedOffsets, error) {
		return admin.ListLocalLogStartOffsets(ctx, topics...)
	})
	listed("ListLatestRemoteOffsets", -1, func(topics ...string) (kadm.ListedOffsets, error) {
		return admin.ListLatestRemoteOffsets(ctx, topics...)
	})
	listed("ListOffsetsAfterMilli", 3, func(topics ...string) (kadm.ListedOffsets, error) {
		return admin.ListOffsetsAfterMilli(ctx, now.UnixMilli()+5, topics...)
	})
	epochs := kadm.OffsetForLeaderEpochRequest{}
	epochs.Add(topic, 0, 0)
	found("OffsetForLeaderEpoch", func() (kadm.OffsetsForLeaderEpochs, error) { return admin.OffsetForLeaderEpoch(ctx, epochs) },
		func(answer kadm.OffsetsForLeaderEpochs) bool { return answer[topic][0].EndOffset == 10 })
	answered("OffetForLeaderEpoch", func() (any, error) { return admin.OffetForLeaderEpoch(ctx, epochs) })
}

func groupCalls() {
	group := closedGroup()
	found("ListGroups of all", func() (kadm.ListedGroups, error) { return admin.ListGroups(ctx) },
		func(answer kadm.ListedGroups) bool { return answer[group].State == "Empty" })
	found("ListGroups in a state", func() (kadm.ListedGroups, error) { return admin.ListGroups(ctx, "Empty") },
		func(answer kadm.ListedGroups) bool { return answer[group].State == "Empty" })
	found("ListGroupsByType", func() (kadm.ListedGroups, error) { return admin.ListGroupsByType(ctx, []string{"classic"}) },
		func(answer kadm.ListedGroups) bool { return answer[group].GroupType == "classic" })
	found("DescribeGroups of all", func() (kadm.DescribedGroups, error) { return admin.DescribeGroups(ctx) },
		func(answer kadm.DescribedGroups) bool { return answer[group].State == "Empty" })
	capability.Of("admin DescribeConsumerGroups", func() error {
		group := capability.Unique("kip848")
		consumer, err := reading(group, kgo.ServerSideBalancer())
		if err != nil {
			return err
		}
		defer consumer.Close()
		described, err := admin.DescribeConsumerGroups(ctx, group)
		if err != nil {
			return err
		}
		return capability.Check(described[group].Err == nil && len(described[group].Members) == 1, described)
	})
	answered("DescribeConsumerGroups of all", func() (any, error) { return admin.DescribeConsumerGroups(ctx) })
	found("Lag of all", func() (kadm.DescribedGroupLags, error) { return admin.Lag(ctx) },
		func(answer kadm.DescribedGroupLags) bool { return answer[group].State == "Empty" })
	found("Lag", func() (kadm.DescribedGroupLags, error) { return admin.Lag(ctx, group) },
		func(answer kadm.DescribedGroupLags) bool { return answer[group].Lag.Total() == 0 })
	found("FetchOffsets", func() (kadm.OffsetResponses, error) { return admin.FetchOffsets(ctx, group) },
		func(answer kadm.OffsetResponses) bool { return answer[topic][0].At == 10 && answer[topic][1].At == 10 })
	found("FetchOffsetsForTopics", func() (kadm.OffsetResponses, error) { return admin.FetchOffsetsForTopics(ctx, group, topic) },
		func(answer kadm.OffsetResponses) bool { return answer[topic][0].At == 10 })
	found("FetchManyOffsets", func() (kadm.FetchOffsetsResponses, error) {
		return admin.FetchManyOffsets(ctx, group, closedGroup()), nil
	},
		func(answer kadm.FetchOffsetsResponses) bool {
			return len(answer) == 2 && answer[group].Fetched[topic][0].At == 10
		})
	found("FindGroupCoordinators", func() (kadm.FindCoordinatorResponses, error) {
		return admin.FindGroupCoordinators(ctx, group, "other"), nil
	},
		func(answer kadm.FindCoordinatorResponses) bool { return isOne(answer[group].NodeID) })
	answered("CommitOffsets", func() (any, error) { return admin.CommitOffsets(ctx, closedGroup(), offset(topic, 0, 3)) })
	answered("CommitAllOffsets", func() (any, error) { return nil, admin.CommitAllOffsets(ctx, closedGroup(), offset(topic, 0, 3)) })
	capability.Of("admin FetchOffsetsByID", func() error {
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		answer, err := admin.FetchOffsetsByID(ctx, group)
		if err != nil {
			return err
		}
		return capability.Same(answer[topics[topic].ID][0].At, 10)
	})
	byID := func() kadm.OffsetsByID {
		topics, err := admin.ListTopics(ctx, topic)
		capability.Must(err)
		id := topics[topic].ID
		return kadm.OffsetsByID{id: {0: kadm.Offset{Topic: topic, TopicID: id, At: 3, LeaderEpoch: -1}}}
	}
	answered("CommitOffsetsByID", func() (any, error) { return admin.CommitOffsetsByID(ctx, closedGroup(), byID()) })
	answered("CommitAllOffsetsByID", func() (any, error) { return nil, admin.CommitAllOffsetsByID(ctx, closedGroup(), byID()) })
	answered("DeleteOffsets", func() (any, error) { return admin.DeleteOffsets(ctx, closedGroup(), partitions(topic, 0)) })
	answered("DeleteGroup", func() (any, error) { return admin.DeleteGroup(ctx, closedGroup()) })
	answered("DeleteGroups", func() (any, error) { return admin.DeleteGroups(ctx, closedGroup(), closedGroup()) })
	answered("LeaveGroup", func() (any, error) {
		group := capability.Unique("static")
		consumer, err := reading(group, kgo.InstanceID("one"))
		if err != nil {
			return nil, err
		}
		consumer.Close()
		return admin.LeaveGroup(ctx, kadm.LeaveGroup(group).Reason("done").InstanceIDs("one"))
	})
}

func clusterCalls() {
	found("ListBrokers", func() (kadm.BrokerDetails, error) { return admin.ListBrokers(ctx) },
		areAll)
	answered("ApiVersions", func() (any, error) { return admin.ApiVersions(ctx) })
	refused("ElectLeaders", kerr.ElectionNotNeeded, func() (any, error) { return admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, partitions(topic, 0)) })
	answered("ElectLeaders of all", func() (any, error) { return admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil) })
	found("ListPartitionReassignments of all", func() (kadm.ListPartitionReassignmentsResponses, error) {
		return admin.ListPartitionReassignments(ctx, nil)
	},
		func(answer kadm.ListPartitionReassignmentsResponses) bool { return len(answer) == 0 })
	assign := kadm.AlterPartitionAssignmentsReq{}
	assign.Assign(topic, 0, replicas())
	answered("AlterPartitionAssignments", func() (any, error) { return admin.AlterPartitionAssignments(ctx, assign) })
	hasDirs := func(dirs kadm.DescribedLogDirs) bool {
		_, found := dirs.LookupPartition(topic, 0)
		return found
	}
	found("DescribeAllLogDirs of all", func() (kadm.DescribedAllLogDirs, error) { return admin.DescribeAllLogDirs(ctx, nil) },
		func(answer kadm.DescribedAllLogDirs) bool { return hasDirs(answer[1]) })
	found("DescribeBrokerLogDirs", func() (kadm.DescribedLogDirs, error) {
		return admin.DescribeBrokerLogDirs(ctx, 1, partitions(topic, 0))
	}, hasDirs)
	move := kadm.AlterReplicaLogDirsReq{}
	move.Add("/no/such", partitions(topic, 0))
	refused("AlterAllReplicaLogDirs", kerr.LogDirNotFound, func() (any, error) { return admin.AlterAllReplicaLogDirs(ctx, move) })
	refused("AlterBrokerReplicaLogDirs", kerr.LogDirNotFound, func() (any, error) { return admin.AlterBrokerReplicaLogDirs(ctx, 1, move) })
	refused("UpdateFeatures of one that Kafka has not", kerr.InvalidUpdateVersion, func() (any, error) {
		return admin.UpdateFeatures(ctx, true, kadm.FeatureUpdate{Feature: "no.such.feature", MaxVersionLevel: 1, UpgradeType: 1})
	})
}

func securityCalls() {
	anyone := func() *kadm.ACLBuilder {
		return kadm.NewACLs().AnyResource().Allow().AllowHosts().Deny().DenyHosts().Operations().ResourcePatternType(kadm.ACLPatternAny)
	}
	ann := kadm.NewACLs().Topics(topic).Allow("User:ann").AllowHosts("*").Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral)
	refused("DescribeACLs without an authorizer", kerr.SecurityDisabled, func() (any, error) { return admin.DescribeACLs(ctx, anyone()) })
	refused("CreateACLs without an authorizer", kerr.SecurityDisabled, func() (any, error) { return admin.CreateACLs(ctx, ann) })
	refused("DeleteACLs without an authorizer", kerr.SecurityDisabled, func() (any, error) { return admin.DeleteACLs(ctx, anyone()) })
	answered("DescribeClientQuotas of all", func() (any, error) { return admin.DescribeClientQuotas(ctx, false, nil) })
	user := capability.Unique("user")
	quota := []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "user", Name: &user}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 1e6}},
	}}
	answered("ValidateAlterClientQuotas", func() (any, error) { return admin.ValidateAlterClientQuotas(ctx, quota) })
	answered("AlterClientQuotas", func() (any, error) { return admin.AlterClientQuotas(ctx, quota) })
	answered("DescribeUserSCRAMs of all", func() (any, error) { return admin.DescribeUserSCRAMs(ctx) })
	refused("DescribeUserSCRAMs of one", kerr.ResourceNotFound, func() (any, error) { return admin.DescribeUserSCRAMs(ctx, "nobody") })
	answered("AlterUserSCRAMs", func() (any, error) {
		return admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "secret"}})
	})
	// Kafka refuses all of them to who has not logged in.
	refused("CreateDelegationToken without a login", kerr.DelegationTokenRequestNotAllowed, func() (any, error) {
		return admin.CreateDelegationToken(ctx, kadm.CreateDelegationToken{MaxLifetime: time.Hour})
	})
	refused("DescribeDelegationTokens without a login", kerr.DelegationTokenRequestNotAllowed, func() (any, error) { return admin.DescribeDelegationTokens(ctx) })
	refused("RenewDelegationToken without a login", kerr.DelegationTokenRequestNotAllowed, func() (any, error) { return admin.RenewDelegationToken(ctx, []byte{1}, time.Hour) })
	refused("ExpireDelegationToken without a login", kerr.DelegationTokenRequestNotAllowed, func() (any, error) { return admin.ExpireDelegationToken(ctx, []byte{1}, time.Hour) })
}

func transactionCalls() {
	id := capability.Unique("transaction")
	answered("ListTransactions of all", func() (any, error) { return admin.ListTransactions(ctx, nil, nil) })
	answered("ListTransactionsByTxPattern", func() (any, error) { return admin.ListTransactionsByTxPattern(ctx, nil, nil, "no-such-.*") })
	answered("DescribeTransactions of all", func() (any, error) { return admin.DescribeTransactions(ctx) })
	refused("DescribeTransactions of one that is not there", kerr.TransactionalIDNotFound, func() (any, error) { return admin.DescribeTransactions(ctx, id) })
	answered("FindTxnCoordinators", func() (any, error) { return admin.FindTxnCoordinators(ctx, id), nil })
	found("DescribeProducers", func() (kadm.DescribedProducersTopics, error) {
		topic := newTopic("producers", 1)
		capability.Must(produce(plain(topic, 3, 1)))
		return admin.DescribeProducers(ctx, partitions(topic, 0))
	}, func(answer kadm.DescribedProducersTopics) bool {
		return strings.Contains(fmt.Sprintf("%+v", answer), "ProducerID")
	})
	answered("DescribeProducers of all", func() (any, error) { return admin.DescribeProducers(ctx, nil) })
	answered("WriteTxnMarkers", func() (any, error) {
		return admin.WriteTxnMarkers(ctx, kadm.TxnMarkers{ProducerID: 1, CoordinatorEpoch: -1, Topics: partitions(newTopic("aborted", 1), 0)})
	})
}

// shareGroup gives a share group without members that has read all records of the topic.
func shareGroup() (string, error) {
	group := capability.Unique("share")
	earliest := kmsg.NewIncrementalAlterConfigsRequest()
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "share.auto.offset.reset", kmsg.StringPtr("earliest")
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.Configs = kmsg.ConfigResourceTypeGroupConfig, group, append(resource.Configs, config)
	earliest.Resources = append(earliest.Resources, resource)
	configuring := client()
	defer configuring.Close()
	if _, err := earliest.RequestWith(ctx, configuring); err != nil {
		return "", err
	}
	consumer := client(kgo.ShareGroup(group), kgo.ConsumeTopics(topic))
	_, err := take(consumer, 20)
	consumer.Close()
	return group, err
}

func shareGroupCalls() {
	group, failure := shareGroup()
	with := func(call func() (any, error)) func() (any, error) {
		return func() (any, error) {
			if failure != nil {
				return nil, failure
			}
			return call()
		}
	}
	answered("FindShareCoordinators", func() (any, error) {
		topics, err := admin.ListTopics(ctx, topic)
		capability.Must(err)
		id := topics[topic].ID
		return admin.FindShareCoordinators(ctx, group+":"+base64.RawURLEncoding.EncodeToString(id[:])+":0"), err
	})
	answered("DescribeShareGroups", with(func() (any, error) { return admin.DescribeShareGroups(ctx, group) }))
	answered("DescribeShareGroupOffsets", with(func() (any, error) { return admin.DescribeShareGroupOffsets(ctx, group) }))
	answered("AlterShareGroupOffsets", with(func() (any, error) { return admin.AlterShareGroupOffsets(ctx, group, offset(topic, 0, 3)) }))
	answered("DeleteShareGroupOffsets", with(func() (any, error) { return admin.DeleteShareGroupOffsets(ctx, group, topic) }))
}
