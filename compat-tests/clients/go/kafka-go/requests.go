package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"ottla/compat-tests/capability"
)

// answered is for requests whose answer has no error in any of its parts, and in which something is found.
func answered[Request, Response any](name string, call func(*Request) (*Response, error), request Request, check func(*Response) bool) {
	capability.Of("client "+name, func() error {
		answer, err := call(&request)
		if err != nil {
			return err
		}
		if err := capability.Failure(answer); err != nil {
			return err
		}
		return capability.Check(check == nil || check(answer), answer)
	})
}

// refused is for requests that Kafka refuses, as a whole or in a part of its answer.
func refused[Request, Response any](name string, expected error, call func(*Request) (*Response, error), request Request, part func(*Response) error) {
	capability.Of("client "+name, func() error {
		answer, err := call(&request)
		if err == nil {
			err = part(answer)
		}
		return capability.Refused(err, expected)
	})
}

func requests() {
	topicRequests()
	recordRequests()
	configRequests()
	groupRequests()
	clusterRequests()
	transactionRequests()
}

func topicRequests() {
	metadata := func(request *kafka.MetadataRequest) (*kafka.MetadataResponse, error) {
		return client.Metadata(ctx, request)
	}
	answered("Metadata of all", metadata, kafka.MetadataRequest{}, func(answer *kafka.MetadataResponse) bool {
		return len(answer.Topics) > 1 && len(answer.Brokers) == len(brokers) && answer.ClusterID != "" && slices.Contains(answer.Brokers, answer.Controller)
	})
	answered("Metadata of one", metadata, kafka.MetadataRequest{Topics: []string{topic}}, func(answer *kafka.MetadataResponse) bool {
		return len(answer.Topics) == 1 && len(answer.Topics[0].Partitions) == 2
	})
	create := func(request *kafka.CreateTopicsRequest) (*kafka.CreateTopicsResponse, error) {
		return client.CreateTopics(ctx, request)
	}
	config := kafka.TopicConfig{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}
	refused("CreateTopics", kafka.TopicAlreadyExists, create, kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}},
		func(answer *kafka.CreateTopicsResponse) error { return answer.Errors[topic] })
	deleted := newTopic("deleted", 1)
	answered("DeleteTopics", func(request *kafka.DeleteTopicsRequest) (*kafka.DeleteTopicsResponse, error) {
		return client.DeleteTopics(ctx, request)
	}, kafka.DeleteTopicsRequest{Topics: []string{deleted}}, func(answer *kafka.DeleteTopicsResponse) bool { return answer.Errors[deleted] == nil })
	grown := newTopic("grown", 1)
	answered("CreatePartitions", func(request *kafka.CreatePartitionsRequest) (*kafka.CreatePartitionsResponse, error) {
		return client.CreatePartitions(ctx, request)
	}, kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: grown, Count: 5}}},
		func(answer *kafka.CreatePartitionsResponse) bool { return answer.Errors[grown] == nil })
	listed := func(name string, request kafka.OffsetRequest, check func(kafka.PartitionOffsets) bool) {
		capability.Of(name, func() error {
			answer, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {request}}})
			if err != nil {
				return err
			}
			return capability.Check(check(answer.Topics[topic][0]), answer)
		})
	}
	listed("client ListOffsets", kafka.LastOffsetOf(0), func(found kafka.PartitionOffsets) bool { return found.LastOffset == 10 })
	listed("offsets for times", kafka.TimeOffsetOf(0, now.Add(5*time.Millisecond)), func(found kafka.PartitionOffsets) bool {
		_, is := found.Offsets[3]
		return is
	})
}

func recordRequests() {
	produced := newTopic("produced", 1)
	records := func() kafka.RecordReader {
		return kafka.NewRecordReader(kafka.Record{Time: now, Value: kafka.NewBytes([]byte("v"))})
	}
	answered("Produce", func(request *kafka.ProduceRequest) (*kafka.ProduceResponse, error) {
		return client.Produce(ctx, request)
	},
		kafka.ProduceRequest{Topic: produced, RequiredAcks: kafka.RequireAll, Records: records()}, func(answer *kafka.ProduceResponse) bool { return answer.BaseOffset == 0 })
	capability.Of("client RawProduce", func() error {
		set := protocol.RecordSet{Version: 2, Records: records()}
		var raw bytes.Buffer
		if _, err := set.WriteTo(&raw); err != nil {
			return err
		}
		answer, err := client.RawProduce(ctx, &kafka.RawProduceRequest{Topic: produced, RequiredAcks: kafka.RequireAll, RawRecords: protocol.RawRecordSet{Reader: &raw}})
		if err != nil {
			return err
		}
		return errors.Join(answer.Error, capability.Same(answer.BaseOffset, 1))
	})
	capability.Of("client Fetch", func() error {
		answer, err := client.Fetch(ctx, &kafka.FetchRequest{Topic: produced, MinBytes: 1, MaxBytes: 1_000_000, MaxWait: time.Second})
		if err != nil {
			return err
		}
		record, err := answer.Records.ReadRecord()
		if err != nil {
			return err
		}
		value, err := io.ReadAll(record.Value)
		if err != nil {
			return err
		}
		return capability.Check(string(value) == "v" && answer.HighWatermark == 2, string(value), answer)
	})
}

func configRequests() {
	describe := func(request *kafka.DescribeConfigsRequest) (*kafka.DescribeConfigsResponse, error) {
		return client.DescribeConfigs(ctx, request)
	}
	resource := func(kind kafka.ResourceType, name string) kafka.DescribeConfigsRequest {
		return kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind, ResourceName: name}}, IncludeSynonyms: true, IncludeDocumentation: true}
	}
	has := func(name, value string) func(*kafka.DescribeConfigsResponse) bool {
		return func(answer *kafka.DescribeConfigsResponse) bool {
			for _, entry := range answer.Resources[0].ConfigEntries {
				if entry.ConfigName == name {
					return entry.ConfigValue == value
				}
			}
			return false
		}
	}
	answered("DescribeConfigs of a topic", describe, resource(kafka.ResourceTypeTopic, topic), has("cleanup.policy", "delete"))
	answered("DescribeConfigs of a broker", describe, resource(kafka.ResourceTypeBroker, "1"), has("log.retention.hours", "168"))
	altered := newTopic("altered", 1)
	answered("AlterConfigs", func(request *kafka.AlterConfigsRequest) (*kafka.AlterConfigsResponse, error) {
		return client.AlterConfigs(ctx, request)
	},
		kafka.AlterConfigsRequest{Resources: []kafka.AlterConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: altered,
			Configs: []kafka.AlterConfigRequestConfig{{Name: "retention.ms", Value: "5000"}}}}},
		func(answer *kafka.AlterConfigsResponse) bool {
			for _, err := range answer.Errors {
				if err != nil {
					return false
				}
			}
			return true
		})
	answered("IncrementalAlterConfigs", func(request *kafka.IncrementalAlterConfigsRequest) (*kafka.IncrementalAlterConfigsResponse, error) {
		return client.IncrementalAlterConfigs(ctx, request)
	}, kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: altered,
		Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "cleanup.policy", Value: "compact", ConfigOperation: kafka.ConfigOperationAppend}}}}}, nil)
}

func groupRequests() {
	group := closedGroup()
	answered("ListGroups of all", func(request *kafka.ListGroupsRequest) (*kafka.ListGroupsResponse, error) {
		return client.ListGroups(ctx, request)
	},
		kafka.ListGroupsRequest{}, func(answer *kafka.ListGroupsResponse) bool {
			for _, found := range answer.Groups {
				if found.GroupID == group {
					return true
				}
			}
			return false
		})
	answered("DescribeGroups", func(request *kafka.DescribeGroupsRequest) (*kafka.DescribeGroupsResponse, error) {
		return client.DescribeGroups(ctx, request)
	},
		kafka.DescribeGroupsRequest{GroupIDs: []string{group}}, func(answer *kafka.DescribeGroupsResponse) bool { return answer.Groups[0].GroupState == "Empty" })
	capability.Of("client ConsumerOffsets", func() error {
		found, err := client.ConsumerOffsets(ctx, kafka.TopicAndGroup{Topic: topic, GroupId: group})
		if err != nil {
			return err
		}
		return capability.Same(found, all)
	})
	answered("OffsetFetch", func(request *kafka.OffsetFetchRequest) (*kafka.OffsetFetchResponse, error) {
		return client.OffsetFetch(ctx, request)
	},
		kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}}, func(answer *kafka.OffsetFetchResponse) bool { return answer.Topics[topic][0].CommittedOffset == 10 })
	answered("OffsetFetch of all partitions", func(request *kafka.OffsetFetchRequest) (*kafka.OffsetFetchResponse, error) {
		return client.OffsetFetch(ctx, request)
	},
		kafka.OffsetFetchRequest{GroupID: group}, func(answer *kafka.OffsetFetchResponse) bool { return len(answer.Topics[topic]) == 2 })
	capability.Of("commit with metadata, without joining", func() error {
		group := capability.Unique("commit")
		offsets := map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 3, Metadata: "mine \u00e9"}}}
		if _, err := client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: offsets}); err != nil {
			return err
		}
		found, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
		if err != nil {
			return err
		}
		return capability.Same(found.Topics[topic][0].Metadata, "mine \u00e9")
	})
	answered("OffsetCommit", func(request *kafka.OffsetCommitRequest) (*kafka.OffsetCommitResponse, error) {
		return client.OffsetCommit(ctx, request)
	},
		kafka.OffsetCommitRequest{GroupID: closedGroup(), GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 3}}}}, nil)
	answered("OffsetDelete", func(request *kafka.OffsetDeleteRequest) (*kafka.OffsetDeleteResponse, error) {
		return client.OffsetDelete(ctx, request)
	},
		kafka.OffsetDeleteRequest{GroupID: closedGroup(), Topics: map[string][]int{topic: {0}}}, nil)
	deleted := closedGroup()
	answered("DeleteGroups", func(request *kafka.DeleteGroupsRequest) (*kafka.DeleteGroupsResponse, error) {
		return client.DeleteGroups(ctx, request)
	},
		kafka.DeleteGroupsRequest{GroupIDs: []string{deleted}}, func(answer *kafka.DeleteGroupsResponse) bool { return answer.Errors[deleted] == nil })
	answered("FindCoordinator", func(request *kafka.FindCoordinatorRequest) (*kafka.FindCoordinatorResponse, error) {
		return client.FindCoordinator(ctx, request)
	},
		kafka.FindCoordinatorRequest{Key: group, KeyType: kafka.CoordinatorKeyTypeConsumer}, func(answer *kafka.FindCoordinatorResponse) bool { return 1 <= answer.Coordinator.NodeID && answer.Coordinator.NodeID <= len(brokers) })
	membership()
}

// membership joins, syncs, beats and leaves by hand.
func membership() {
	group := capability.Unique("by-hand")
	protocols := []kafka.GroupProtocol{{Name: "range", Metadata: kafka.GroupProtocolSubscription{Topics: []string{topic}}}}
	request := kafka.JoinGroupRequest{GroupID: group, SessionTimeout: 10 * time.Second, RebalanceTimeout: 10 * time.Second, ProtocolType: "consumer", Protocols: protocols}
	var joined *kafka.JoinGroupResponse
	capability.Of("client JoinGroup", func() error {
		answer, err := client.JoinGroup(ctx, &request)
		if err == nil && errors.Is(answer.Error, kafka.MemberIDRequired) {
			request.MemberID = answer.MemberID
			answer, err = client.JoinGroup(ctx, &request)
		}
		if err != nil {
			return err
		}
		joined = answer
		return answer.Error
	})
	if joined == nil {
		joined = &kafka.JoinGroupResponse{}
	}
	assignment := kafka.SyncGroupRequestAssignment{MemberID: joined.MemberID, Assignment: kafka.GroupProtocolAssignment{AssignedPartitions: map[string][]int{topic: {0, 1}}}}
	answered("SyncGroup", func(request *kafka.SyncGroupRequest) (*kafka.SyncGroupResponse, error) {
		return client.SyncGroup(ctx, request)
	},
		kafka.SyncGroupRequest{GroupID: group, GenerationID: joined.GenerationID, MemberID: joined.MemberID, ProtocolType: "consumer", ProtocolName: "range",
			Assignments: []kafka.SyncGroupRequestAssignment{assignment}}, func(answer *kafka.SyncGroupResponse) bool {
			return len(answer.Assignment.AssignedPartitions[topic]) == 2
		})
	answered("Heartbeat", func(request *kafka.HeartbeatRequest) (*kafka.HeartbeatResponse, error) {
		return client.Heartbeat(ctx, request)
	},
		kafka.HeartbeatRequest{GroupID: group, GenerationID: int32(joined.GenerationID), MemberID: joined.MemberID}, nil)
	answered("LeaveGroup", func(request *kafka.LeaveGroupRequest) (*kafka.LeaveGroupResponse, error) {
		return client.LeaveGroup(ctx, request)
	},
		kafka.LeaveGroupRequest{GroupID: group, Members: []kafka.LeaveGroupRequestMember{{ID: joined.MemberID}}}, nil)
}

// replicas gives the brokers that have the topic's first partition.
func replicas() []int {
	answer, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	capability.Must(err)
	var ids []int
	for _, replica := range answer.Topics[0].Partitions[0].Replicas {
		ids = append(ids, replica.ID)
	}
	return ids
}

func clusterRequests() {
	answered("ApiVersions", func(request *kafka.ApiVersionsRequest) (*kafka.ApiVersionsResponse, error) {
		return client.ApiVersions(ctx, request)
	},
		kafka.ApiVersionsRequest{}, func(answer *kafka.ApiVersionsResponse) bool { return len(answer.ApiKeys) > 10 })
	capability.Of("client ElectLeaders", func() error {
		answer, err := client.ElectLeaders(ctx, &kafka.ElectLeadersRequest{Topic: topic, Partitions: []int{0}, Timeout: time.Second})
		if err != nil {
			return err
		}
		return capability.Refused(answer.PartitionResults[0].Error, kafka.ElectionNotNeeded)
	})
	answered("AlterPartitionReassignments", func(request *kafka.AlterPartitionReassignmentsRequest) (*kafka.AlterPartitionReassignmentsResponse, error) {
		return client.AlterPartitionReassignments(ctx, request)
	}, kafka.AlterPartitionReassignmentsRequest{Topic: topic, Assignments: []kafka.AlterPartitionReassignmentsRequestAssignment{{PartitionID: 0, BrokerIDs: replicas()}}, Timeout: time.Second}, nil)
	answered("ListPartitionReassignments of all", func(request *kafka.ListPartitionReassignmentsRequest) (*kafka.ListPartitionReassignmentsResponse, error) {
		return client.ListPartitionReassignments(ctx, request)
	}, kafka.ListPartitionReassignmentsRequest{Timeout: time.Second}, func(answer *kafka.ListPartitionReassignmentsResponse) bool { return len(answer.Topics) == 0 })

	disabled := kafka.SecurityDisabled
	refused("DescribeACLs without an authorizer", disabled, func(request *kafka.DescribeACLsRequest) (*kafka.DescribeACLsResponse, error) {
		return client.DescribeACLs(ctx, request)
	}, kafka.DescribeACLsRequest{Filter: kafka.ACLFilter{ResourceTypeFilter: kafka.ResourceTypeAny, ResourcePatternTypeFilter: kafka.PatternTypeAny,
		Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny}}, func(answer *kafka.DescribeACLsResponse) error { return answer.Error })
	refused("CreateACLs without an authorizer", disabled, func(request *kafka.CreateACLsRequest) (*kafka.CreateACLsResponse, error) {
		return client.CreateACLs(ctx, request)
	}, kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ResourcePatternType: kafka.PatternTypeLiteral,
		Principal: "User:ann", Host: "*", Operation: kafka.ACLOperationTypeRead, PermissionType: kafka.ACLPermissionTypeAllow}}},
		func(answer *kafka.CreateACLsResponse) error { return answer.Errors[0] })
	refused("DeleteACLs without an authorizer", disabled, func(request *kafka.DeleteACLsRequest) (*kafka.DeleteACLsResponse, error) {
		return client.DeleteACLs(ctx, request)
	}, kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{{ResourceTypeFilter: kafka.ResourceTypeAny, ResourcePatternTypeFilter: kafka.PatternTypeAny,
		Operation: kafka.ACLOperationTypeAny, PermissionType: kafka.ACLPermissionTypeAny}}}, func(answer *kafka.DeleteACLsResponse) error { return answer.Results[0].Error })

	user := capability.Unique("user")
	answered("DescribeClientQuotas of all", func(request *kafka.DescribeClientQuotasRequest) (*kafka.DescribeClientQuotasResponse, error) {
		return client.DescribeClientQuotas(ctx, request)
	}, kafka.DescribeClientQuotasRequest{}, nil)
	answered("AlterClientQuotas", func(request *kafka.AlterClientQuotasRequest) (*kafka.AlterClientQuotasResponse, error) {
		return client.AlterClientQuotas(ctx, request)
	}, kafka.AlterClientQuotasRequest{Entries: []kafka.AlterClientQuotaEntry{{Entities: []kafka.AlterClientQuotaEntity{{EntityType: "user", EntityName: user}},
		Ops: []kafka.AlterClientQuotaOps{{Key: "producer_byte_rate", Value: 1e6}}}}}, nil)
	answered("DescribeUserScramCredentials of all", func(request *kafka.DescribeUserScramCredentialsRequest) (*kafka.DescribeUserScramCredentialsResponse, error) {
		return client.DescribeUserScramCredentials(ctx, request)
	}, kafka.DescribeUserScramCredentialsRequest{}, nil)
	answered("AlterUserScramCredentials", func(request *kafka.AlterUserScramCredentialsRequest) (*kafka.AlterUserScramCredentialsResponse, error) {
		return client.AlterUserScramCredentials(ctx, request)
	}, kafka.AlterUserScramCredentialsRequest{Upsertions: []kafka.UserScramCredentialsUpsertion{{Name: user, Mechanism: kafka.ScramMechanismSha256, Iterations: 4096,
		Salt: []byte("some salt"), SaltedPassword: bytes.Repeat([]byte("x"), 32)}}}, nil)
}

// transactionRequests does a transaction by hand: a record and an offset.
func transactionRequests() {
	id, group := capability.Unique("transaction"), capability.Unique("group")
	producer := kafka.ProducerSession{}
	// No producer yet: 0 and 0 would name the producer with the first id.
	request := kafka.InitProducerIDRequest{TransactionalID: id, TransactionTimeoutMs: 10_000, ProducerID: -1, ProducerEpoch: -1}
	capability.Must(capability.Until("the coordinator of transactions is there", func() bool {
		answer, err := client.InitProducerID(ctx, &request)
		return err != nil || !slices.Contains([]error{kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup}, answer.Error)
	}))
	capability.Of("transaction client InitProducerID", func() error {
		answer, err := client.InitProducerID(ctx, &request)
		if err != nil {
			return err
		}
		if answer.Error != nil {
			return answer.Error
		}
		producer = *answer.Producer
		return nil
	})
	answered("InitProducerID of an idempotent producer", func(request *kafka.InitProducerIDRequest) (*kafka.InitProducerIDResponse, error) {
		return client.InitProducerID(ctx, request)
	}, kafka.InitProducerIDRequest{TransactionTimeoutMs: 10_000}, nil)
	answered("AddPartitionsToTxn", func(request *kafka.AddPartitionsToTxnRequest) (*kafka.AddPartitionsToTxnResponse, error) {
		return client.AddPartitionsToTxn(ctx, request)
	}, kafka.AddPartitionsToTxnRequest{TransactionalID: id, ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch,
		Topics: map[string][]kafka.AddPartitionToTxn{newTopic("transaction", 1): {{Partition: 0}}}}, nil)
	answered("AddOffsetsToTxn", func(request *kafka.AddOffsetsToTxnRequest) (*kafka.AddOffsetsToTxnResponse, error) {
		return client.AddOffsetsToTxn(ctx, request)
	},
		kafka.AddOffsetsToTxnRequest{TransactionalID: id, ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch, GroupID: group}, nil)
	answered("TxnOffsetCommit", func(request *kafka.TxnOffsetCommitRequest) (*kafka.TxnOffsetCommitResponse, error) {
		return client.TxnOffsetCommit(ctx, request)
	},
		kafka.TxnOffsetCommitRequest{TransactionalID: id, GroupID: group, ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch, GenerationID: -1,
			Topics: map[string][]kafka.TxnOffsetCommit{topic: {{Partition: 0, Offset: 5}}}}, nil)
	answered("EndTxn", func(request *kafka.EndTxnRequest) (*kafka.EndTxnResponse, error) { return client.EndTxn(ctx, request) },
		kafka.EndTxnRequest{TransactionalID: id, ProducerID: producer.ProducerID, ProducerEpoch: producer.ProducerEpoch, Committed: true}, nil)
	capability.Of("transaction with offsets", func() error {
		return capability.Until("committed", func() bool { return committed(group)[0] == 5 })
	})
}

// connection tries what a connection to a partition's leader can do.
func connection() {
	conn, err := kafka.DialLeader(ctx, "tcp", brokers[0], topic, 0)
	capability.Must(err)
	defer conn.Close()
	capability.Must(conn.SetDeadline(time.Now().Add(30 * time.Second)))
	of := func(name string, body func() error) { capability.Of("conn "+name, body) }
	of("Controller", func() error { _, err := conn.Controller(); return err })
	of("Brokers", func() error { _, err := conn.Brokers(); return err })
	of("ApiVersions", func() error { _, err := conn.ApiVersions(); return err })
	of("ReadPartitions of all", func() error {
		all, err := kafka.Dial("tcp", brokers[0])
		if err != nil {
			return err
		}
		defer all.Close()
		partitions, err := all.ReadPartitions()
		if err != nil {
			return err
		}
		return capability.Check(len(partitions) > 2, partitions)
	})
	of("ReadFirstOffset", func() error { _, err := conn.ReadFirstOffset(); return err })
	of("ReadLastOffset", func() error { _, err := conn.ReadLastOffset(); return err })
	of("ReadOffset", func() error { _, err := conn.ReadOffset(now); return err })
	of("ReadOffsets", func() error {
		first, last, err := conn.ReadOffsets()
		if err != nil {
			return err
		}
		return capability.Same([]int64{first, last}, []int64{0, 10})
	})
	of("Seek", func() error { _, err := conn.Seek(7, kafka.SeekAbsolute); return err })
	of("ReadBatch", func() error {
		batch := conn.ReadBatch(1, 1_000_000)
		message, err := batch.ReadMessage()
		if err != nil {
			return err
		}
		return errors.Join(capability.Same(message.Offset, 7), batch.Close())
	})
	of("ReadMessage", func() error { _, err := conn.ReadMessage(1_000_000); return err })
	made := capability.Unique("conn")
	of("CreateTopics", func() error {
		return conn.CreateTopics(kafka.TopicConfig{Topic: made, NumPartitions: 1, ReplicationFactor: 1})
	})
	of("WriteMessages", func() error { _, err := conn.WriteMessages(kafka.Message{Value: []byte("v")}); return err })
	of("WriteCompressedMessages", func() error {
		_, err := conn.WriteCompressedMessages(kafka.Gzip.Codec(), kafka.Message{Value: []byte("v")})
		return err
	})
	of("DeleteTopics", func() error { return conn.DeleteTopics(made) })
}
