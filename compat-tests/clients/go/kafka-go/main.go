// What segmentio/kafka-go can do. usage: kafka-go BOOTSTRAP
package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/segmentio/kafka-go"

	"ottla/compat-tests/across"
	"ottla/compat-tests/capability"
)

var (
	ctx     = context.Background()
	brokers []string
	client  *kafka.Client
	now     = time.Now().Add(-time.Minute).Truncate(time.Millisecond) // old records are deleted
	topic   string                                                    // of 2 partitions with 10 records each, one every millisecond from now on, in turn
)

// newTopic gives a topic that the broker leads: Kafka's controller answers before it knows the topic, and it knows it before it leads it.
func newTopic(name string, partitions int, configs ...string) string {
	made := capability.Unique(name)
	config := kafka.TopicConfig{Topic: made, NumPartitions: partitions, ReplicationFactor: 1}
	for index := 0; index < len(configs); index += 2 {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: configs[index], ConfigValue: configs[index+1]})
	}
	created, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	capability.Must(err)
	capability.Must(created.Errors[made])
	var ends []kafka.OffsetRequest
	for partition := range partitions {
		ends = append(ends, kafka.LastOffsetOf(partition))
	}
	capability.Must(capability.Until("the topic has leaders", func() bool {
		led, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{made: ends}})
		return err == nil && capability.Failure(led) == nil && len(led.Topics[made]) == partitions
	}))
	return made
}

func plain(count int) []kafka.Message {
	var messages []kafka.Message
	for number := range count {
		messages = append(messages, kafka.Message{Key: fmt.Appendf(nil, "key-%d", number), Value: fmt.Appendf(nil, "value-%0100d", number)})
	}
	return messages
}

func write(topic string, messages []kafka.Message, changes ...func(*kafka.Writer)) error {
	writer := &kafka.Writer{Addr: kafka.TCP(brokers...), Topic: topic, BatchTimeout: time.Millisecond, RequiredAcks: kafka.RequireAll, BatchBytes: 5_000_000}
	for _, change := range changes {
		change(writer)
	}
	defer writer.Close()
	err := writer.WriteMessages(ctx, messages...)
	var several kafka.WriteErrors
	if errors.As(err, &several) {
		for _, one := range several {
			if one != nil {
				return one
			}
		}
	}
	return err
}

func reader(change func(*kafka.ReaderConfig)) *kafka.Reader {
	config := kafka.ReaderConfig{Brokers: brokers, MaxWait: 50 * time.Millisecond, HeartbeatInterval: 300 * time.Millisecond,
		StartOffset: kafka.FirstOffset, MaxBytes: 10_000_000, RebalanceTimeout: 10 * time.Second}
	change(&config)
	return kafka.NewReader(config)
}

func take(from *kafka.Reader, count int) ([]kafka.Message, error) {
	deadline, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var messages []kafka.Message
	for len(messages) < count {
		message, err := from.FetchMessage(deadline)
		if err != nil {
			return messages, fmt.Errorf("%d of %d: %w", len(messages), count, err)
		}
		messages = append(messages, message)
	}
	return messages, nil
}

func readAll(topic string, count int, changes ...func(*kafka.ReaderConfig)) ([]kafka.Message, error) {
	from := reader(func(config *kafka.ReaderConfig) {
		config.Topic = topic
		for _, change := range changes {
			change(config)
		}
	})
	defer from.Close()
	return take(from, count)
}

func member(group string, changes ...func(*kafka.ReaderConfig)) *kafka.Reader {
	return reader(func(config *kafka.ReaderConfig) {
		config.GroupID, config.GroupTopics = group, []string{topic}
		for _, change := range changes {
			change(config)
		}
	})
}

func committed(group string) map[int]int64 {
	found, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0, 1}}})
	capability.Must(err)
	offsets := map[int]int64{}
	for _, partition := range found.Topics[topic] {
		if partition.CommittedOffset >= 0 {
			offsets[partition.Partition] = partition.CommittedOffset
		}
	}
	return offsets
}

var all = map[int]int64{0: 10, 1: 10}

// closedGroup gives a group without members that has committed offset 10 in both partitions.
func closedGroup() string {
	group := capability.Unique("closed")
	from := member(group)
	messages, err := take(from, 20)
	capability.Must(err)
	capability.Must(from.CommitMessages(ctx, messages...))
	capability.Must(from.Close())
	return group
}

func main() {
	var asked []string
	brokers, asked = across.Arguments()
	client = &kafka.Client{Addr: kafka.TCP(brokers...), Timeout: 20 * time.Second}
	if asked != nil {
		across.Run(acrossClients{}, asked)
		return
	}
	topic = newTopic("kafka-go", 2)
	messages := plain(20)
	for number := range messages {
		messages[number].Time = now.Add(time.Duration(number) * time.Millisecond)
	}
	capability.Must(write(topic, messages, func(writer *kafka.Writer) { writer.Balancer = &kafka.RoundRobin{} }))

	records()
	positions()
	groups()
	commits()
	requests()
	capability.AllPublicCalls("client", reflect.TypeFor[*kafka.Client]())
	connection()
	capability.AllPublicCalls("conn", reflect.TypeFor[*kafka.Conn](), "Close", "LocalAddr", "RemoteAddr", "SetDeadline", "SetReadDeadline",
		"SetWriteDeadline", "Offset", "Read", "ReadBatchWith", "Write", "WriteCompressedMessagesAt", "SetRequiredAcks", "Broker")
}

func records() {
	for name, codec := range map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd} {
		capability.Of("produce "+name, func() error {
			topic := newTopic("codec", 1)
			if err := write(topic, plain(100), func(writer *kafka.Writer) { writer.Compression = codec }); err != nil {
				return err
			}
			found, err := readAll(topic, 100)
			if err != nil {
				return err
			}
			return capability.Same(string(found[99].Value), fmt.Sprintf("value-%0100d", 99))
		})
	}
	for name, acks := range map[string]kafka.RequiredAcks{"0": kafka.RequireNone, "1": kafka.RequireOne} {
		capability.Of("produce acks="+name, func() error {
			topic := newTopic("acks", 1)
			if err := write(topic, plain(1)); err != nil {
				return err
			}
			if err := write(topic, plain(10), func(writer *kafka.Writer) { writer.RequiredAcks = acks }); err != nil {
				return err
			}
			_, err := readAll(topic, 11)
			return err
		})
	}
	capability.Of("produce to a topic that is created by it", func() error {
		topic := capability.Unique("automatic")
		err := capability.Until("the topic is there", func() bool {
			return write(topic, plain(1), func(writer *kafka.Writer) { writer.AllowAutoTopicCreation = true }) == nil
		})
		if err != nil {
			return err
		}
		_, err = readAll(topic, 1)
		return err
	})
	roundTrip := func(name string, messages []kafka.Message, check func([]kafka.Message) error, configs ...string) {
		capability.Of(name, func() error {
			topic := newTopic("records", 1, configs...)
			if err := write(topic, messages); err != nil {
				return err
			}
			found, err := readAll(topic, len(messages))
			if err != nil {
				return err
			}
			return check(found)
		})
	}
	value := []byte("v")
	headers := []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}
	roundTrip("headers", []kafka.Message{{Value: value, Headers: headers}}, func(found []kafka.Message) error { return capability.Same(found[0].Headers, headers) })
	roundTrip("tombstones", []kafka.Message{{Key: value, Value: value}, {Key: value}, {Key: value, Value: []byte{}}}, func(found []kafka.Message) error {
		return capability.Check(string(found[0].Value) == "v" && found[1].Value == nil && len(found[2].Value) == 0, found)
	}, "cleanup.policy", "compact")
	roundTrip("empty and null keys", []kafka.Message{{Value: value}, {Key: []byte{}, Value: value}}, func(found []kafka.Message) error {
		return capability.Check(found[0].Key == nil && len(found[1].Key) == 0, found)
	})
	large := make([]byte, 4<<20)
	for index := range large {
		large[index] = byte(index * index >> 3)
	}
	roundTrip("large messages", []kafka.Message{{Value: large}}, func(found []kafka.Message) error {
		return capability.Check(string(found[0].Value) == string(large), "another value")
	}, "max.message.bytes", "5000000")
	capability.Of("a message that is too large is refused", func() error {
		topic := newTopic("large", 1, "max.message.bytes", "1000")
		return capability.Refused(write(topic, []kafka.Message{{Value: large[:2000]}}), kafka.MessageSizeTooLarge)
	})
	roundTrip("timestamps: of the producer", []kafka.Message{{Value: value, Time: now}}, func(found []kafka.Message) error {
		return capability.Same(found[0].Time.UnixMilli(), now.UnixMilli())
	})
}

func positions() {
	of := func(name string, expected int64, position func(*kafka.Reader) error) {
		capability.Of(name, func() error {
			from := reader(func(config *kafka.ReaderConfig) { config.Topic = topic })
			defer from.Close()
			if err := position(from); err != nil {
				return err
			}
			found, err := take(from, 1)
			if err != nil {
				return err
			}
			return capability.Same(found[0].Offset, expected)
		})
	}
	of("seek", 7, func(from *kafka.Reader) error { return from.SetOffset(7) })
	of("seek to the beginning and the end", 0, func(from *kafka.Reader) error { return from.SetOffset(kafka.FirstOffset) })
	of("consume from a time", 3, func(from *kafka.Reader) error { return from.SetOffsetAt(ctx, now.Add(5*time.Millisecond)) })
	capability.Of("reader ReadLag", func() error {
		from := reader(func(config *kafka.ReaderConfig) { config.Topic = topic })
		defer from.Close()
		lag, err := from.ReadLag(ctx)
		if err != nil {
			return err
		}
		return capability.Same(lag, 10)
	})
}

func groups() {
	for name, balancer := range map[string]kafka.GroupBalancer{"range": kafka.RangeGroupBalancer{}, "roundrobin": kafka.RoundRobinGroupBalancer{}} {
		capability.Of("group "+name, func() error {
			topic, group := newTopic("shared", 4), capability.Unique("group")
			if err := write(topic, plain(40), func(writer *kafka.Writer) { writer.Balancer = &kafka.RoundRobin{} }); err != nil {
				return err
			}
			change := func(config *kafka.ReaderConfig) {
				config.GroupTopics, config.GroupBalancers = []string{topic}, []kafka.GroupBalancer{balancer}
			}
			first, second := member(group, change), member(group, change)
			defer first.Close()
			wait := func(members, partitions int) error {
				return capability.Until(fmt.Sprintf("%d members with %d each", members, partitions), func() bool {
					found, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
					if err != nil || found.Groups[0].GroupState != "Stable" || len(found.Groups[0].Members) != members {
						return false
					}
					for _, member := range found.Groups[0].Members {
						count := 0
						for _, assigned := range member.MemberAssignments.Topics {
							count += len(assigned.Partitions)
						}
						if count != partitions {
							return false
						}
					}
					return true
				})
			}
			if err := wait(2, 2); err != nil {
				return err
			}
			if err := second.Close(); err != nil {
				return err
			}
			if err := wait(1, 4); err != nil {
				return err
			}
			_, err := take(first, 40)
			return err
		})
	}
}

func commits() {
	form := func(name string, expected map[int]int64, commit func(*kafka.Reader, []kafka.Message) error, changes ...func(*kafka.ReaderConfig)) {
		capability.Of("commit "+name, func() error {
			group := capability.Unique("commit")
			from := member(group, changes...)
			defer from.Close()
			messages, err := take(from, 20)
			if err != nil {
				return err
			}
			if err := commit(from, messages); err != nil {
				return err
			}
			return capability.Until("committed", func() bool { return reflect.DeepEqual(committed(group), expected) })
		})
	}
	form("synchronous", all, func(from *kafka.Reader, messages []kafka.Message) error { return from.CommitMessages(ctx, messages...) })
	form("asynchronous", all, func(from *kafka.Reader, messages []kafka.Message) error { return from.CommitMessages(ctx, messages...) },
		func(config *kafka.ReaderConfig) { config.CommitInterval = 100 * time.Millisecond })
	form("of one message", map[int]int64{0: 5}, func(from *kafka.Reader, messages []kafka.Message) error {
		return from.CommitMessages(ctx, kafka.Message{Topic: topic, Partition: 0, Offset: 4})
	})
	capability.Of("commit automatic", func() error {
		group := capability.Unique("commit")
		from := member(group)
		defer from.Close()
		for range 20 {
			if _, err := from.ReadMessage(ctx); err != nil {
				return err
			}
		}
		return capability.Same(committed(group), all)
	})
	capability.Of("a group goes on where it has committed", func() error {
		group := closedGroup()
		offsets := map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 8}}}
		if _, err := client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: offsets}); err != nil {
			return err
		}
		from := member(group)
		defer from.Close()
		found, err := take(from, 2)
		if err != nil {
			return err
		}
		return capability.Same(found[0].Offset, 8)
	})
}
