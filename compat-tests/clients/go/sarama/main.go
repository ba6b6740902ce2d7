// What sarama can do. usage: sarama BOOTSTRAP
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/IBM/sarama"

	"ottla/compat-tests/across"
	"ottla/compat-tests/capability"
)

var (
	brokers []string
	admin   sarama.ClusterAdmin
	now     = time.Now().Add(-time.Minute).Truncate(time.Millisecond) // old records are deleted
	topic   string                                                    // of 2 partitions with 10 records each, one every millisecond from now on, in turn
)

func config(changes ...func(*sarama.Config)) *sarama.Config {
	made := sarama.NewConfig()
	made.Version = sarama.MaxVersion
	made.Producer.Return.Successes = true
	made.Producer.Partitioner = sarama.NewManualPartitioner
	made.Consumer.Offsets.Initial = sarama.OffsetOldest
	made.Consumer.MaxWaitTime = 50 * time.Millisecond
	made.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	made.Metadata.Retry.Max = 10
	for _, change := range changes {
		change(made)
	}
	return made
}

// newTopic gives a topic that the broker knows: Kafka's controller answers before that.
func newTopic(name string, partitions int32, configs ...string) string {
	made := capability.Unique(name)
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
	for index := 0; index < len(configs); index += 2 {
		detail.ConfigEntries[configs[index]] = &configs[index+1]
	}
	capability.Must(admin.CreateTopic(made, detail, false))
	capability.Must(capability.Until("the topic is known", func() bool {
		known, err := admin.DescribeTopics([]string{made})
		return err == nil && known[0].Err == sarama.ErrNoError && len(known[0].Partitions) == int(partitions)
	}))
	return made
}

func plain(topic string, count, partitions int) []*sarama.ProducerMessage {
	var messages []*sarama.ProducerMessage
	for number := range count {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Partition: int32(number % partitions),
			Key: sarama.StringEncoder(fmt.Sprintf("key-%d", number)), Value: sarama.StringEncoder(fmt.Sprintf("value-%0100d", number))})
	}
	return messages
}

func produce(messages []*sarama.ProducerMessage, changes ...func(*sarama.Config)) error {
	producer, err := sarama.NewSyncProducer(brokers, config(changes...))
	if err != nil {
		return err
	}
	defer producer.Close()
	err = producer.SendMessages(messages)
	var several sarama.ProducerErrors
	if errors.As(err, &several) {
		return several[0].Err
	}
	return err
}

// read gives as many messages of a partition.
func read(topic string, partition int32, offset int64, count int, changes ...func(*sarama.Config)) ([]*sarama.ConsumerMessage, error) {
	consumer, err := sarama.NewConsumer(brokers, config(changes...))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	claim, err := consumer.ConsumePartition(topic, partition, offset)
	if err != nil {
		return nil, err
	}
	defer claim.Close()
	var messages []*sarama.ConsumerMessage
	late := time.After(30 * time.Second)
	for len(messages) < count {
		select {
		case message := <-claim.Messages():
			messages = append(messages, message)
		case <-late:
			return messages, fmt.Errorf("%d of %d", len(messages), count)
		}
	}
	return messages, nil
}

// member is one of a group; messages and sessions are told as they come.
type member struct {
	group    sarama.ConsumerGroup
	messages chan *sarama.ConsumerMessage
	session  chan sarama.ConsumerGroupSession
	stop     context.CancelFunc
	mark     bool
}

func (member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m member) Setup(session sarama.ConsumerGroupSession) error {
	m.session <- session
	return nil
}

func (m member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		if m.mark {
			session.MarkMessage(message, "")
		}
		m.messages <- message
	}
	return nil
}

func join(group string, topics []string, mark bool, changes ...func(*sarama.Config)) (*member, error) {
	consumer, err := sarama.NewConsumerGroup(brokers, group, config(changes...))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	joined := &member{consumer, make(chan *sarama.ConsumerMessage, 1000), make(chan sarama.ConsumerGroupSession, 1000), stop, mark}
	go func() {
		for ctx.Err() == nil {
			if err := consumer.Consume(ctx, topics, joined); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
		}
	}()
	return joined, nil
}

func (m *member) leave() {
	m.stop()
	_ = m.group.Close()
}

func (m *member) take(count int) ([]*sarama.ConsumerMessage, error) {
	var messages []*sarama.ConsumerMessage
	late := time.After(30 * time.Second)
	for len(messages) < count {
		select {
		case message := <-m.messages:
			messages = append(messages, message)
		case <-late:
			return nil, fmt.Errorf("%d of %d", len(messages), count)
		}
	}
	return messages, nil
}

func manual(config *sarama.Config) { config.Consumer.Offsets.AutoCommit.Enable = false }

func committed(group string) map[int32]int64 {
	found, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1}})
	capability.Must(err)
	offsets := map[int32]int64{}
	for _, partition := range []int32{0, 1} {
		if block := found.GetBlock(topic, partition); block != nil && block.Offset >= 0 {
			offsets[partition] = block.Offset
		}
	}
	return offsets
}

// closedGroup gives a group without members that has committed offset 10 in both partitions.
func closedGroup() string {
	group := capability.Unique("closed")
	joined, err := join(group, []string{topic}, true)
	capability.Must(err)
	_, err = joined.take(20)
	capability.Must(err)
	joined.leave()
	capability.Must(capability.Until("committed", func() bool { return reflect.DeepEqual(committed(group), map[int32]int64{0: 10, 1: 10}) }))
	return group
}

func main() {
	var asked []string
	brokers, asked = across.Arguments()
	var err error
	admin, err = sarama.NewClusterAdmin(brokers, config())
	capability.Must(err)
	if asked != nil {
		across.Run(acrossClients{}, asked)
		return
	}
	topic = newTopic("sarama", 2)
	messages := plain(topic, 20, 2)
	for number, message := range messages {
		message.Timestamp = now.Add(time.Duration(number) * time.Millisecond)
	}
	capability.Must(produce(messages))

	records()
	positions()
	groups()
	commits()
	transactions()
	adminCalls()
	capability.AllPublicCalls("admin", reflect.TypeFor[sarama.ClusterAdmin](), "Close")
	capability.AllPublicCalls("client", reflect.TypeFor[sarama.Client](), "Close", "Closed", "Config", "PartitionNotReadable")
}

func records() {
	for name, codec := range map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD} {
		capability.Of("produce "+name, func() error {
			topic := newTopic("codec", 1)
			sent := plain(topic, 100, 1)
			if err := produce(sent, func(config *sarama.Config) { config.Producer.Compression = codec }); err != nil {
				return err
			}
			found, err := read(topic, 0, sarama.OffsetOldest, 100)
			if err != nil {
				return err
			}
			return capability.Check(string(found[99].Value) == fmt.Sprintf("value-%0100d", 99), string(found[99].Value))
		})
	}
	roundTrip := func(name string, messages []*sarama.ProducerMessage, check func([]*sarama.ConsumerMessage) error, change func(*sarama.Config), configs ...string) {
		capability.Of(name, func() error {
			topic := newTopic("records", 1, configs...)
			for _, message := range messages {
				message.Topic = topic
			}
			if err := produce(messages, change); err != nil {
				return err
			}
			found, err := read(topic, 0, sarama.OffsetOldest, len(messages))
			if err != nil {
				return err
			}
			return check(found)
		})
	}
	none := func(*sarama.Config) {}
	value := sarama.StringEncoder("v")
	fine := func([]*sarama.ConsumerMessage) error { return nil }
	roundTrip("produce idempotent", []*sarama.ProducerMessage{{Value: value}}, fine, func(config *sarama.Config) {
		config.Producer.Idempotent, config.Producer.RequiredAcks, config.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
	})
	roundTrip("produce acks=1", []*sarama.ProducerMessage{{Value: value}}, fine, func(config *sarama.Config) { config.Producer.RequiredAcks = sarama.WaitForLocal })
	capability.Of("produce acks=0", func() error {
		topic := newTopic("acks", 1)
		if err := produce(plain(topic, 1, 1)); err != nil {
			return err
		}
		if err := produce(plain(topic, 10, 1), func(config *sarama.Config) { config.Producer.RequiredAcks = sarama.NoResponse }); err != nil {
			return err
		}
		_, err := read(topic, 0, sarama.OffsetOldest, 11)
		return err
	})
	capability.Of("produce to a topic that is created by it", func() error {
		topic := capability.Unique("automatic")
		if err := produce(plain(topic, 1, 1)); err != nil {
			return err
		}
		_, err := read(topic, 0, sarama.OffsetOldest, 1)
		return err
	})
	headers := []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("a"), Value: []byte("2")}, {Key: []byte("null")}}
	roundTrip("headers", []*sarama.ProducerMessage{{Value: value, Headers: headers}}, func(found []*sarama.ConsumerMessage) error {
		for index, header := range found[0].Headers {
			if err := capability.Same(*header, headers[index]); err != nil {
				return err
			}
		}
		return capability.Same(len(found[0].Headers), len(headers))
	}, none)
	roundTrip("tombstones", []*sarama.ProducerMessage{{Key: value, Value: value}, {Key: value}}, func(found []*sarama.ConsumerMessage) error {
		return capability.Check(string(found[0].Value) == "v" && found[1].Value == nil, found[1])
	}, none, "cleanup.policy", "compact")
	roundTrip("empty and null keys", []*sarama.ProducerMessage{{Value: value}, {Key: sarama.StringEncoder(""), Value: value}}, func(found []*sarama.ConsumerMessage) error {
		return capability.Check(found[0].Key == nil && found[1].Key != nil && len(found[1].Key) == 0, found)
	}, none)
	large := make([]byte, 4<<20)
	for index := range large {
		large[index] = byte(index * index >> 3)
	}
	roundTrip("large messages", []*sarama.ProducerMessage{{Value: sarama.ByteEncoder(large)}}, func(found []*sarama.ConsumerMessage) error {
		return capability.Check(string(found[0].Value) == string(large), "another value")
	}, func(config *sarama.Config) { config.Producer.MaxMessageBytes = 5_000_000 }, "max.message.bytes", "5000000")
	capability.Of("a message that is too large is refused", func() error {
		topic := newTopic("large", 1, "max.message.bytes", "1000")
		return capability.Refused(produce([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.ByteEncoder(large[:2000])}}), sarama.ErrMessageSizeTooLarge)
	})
	roundTrip("timestamps: of the producer", []*sarama.ProducerMessage{{Value: value, Timestamp: now}}, func(found []*sarama.ConsumerMessage) error {
		return capability.Same(found[0].Timestamp.UnixMilli(), now.UnixMilli())
	}, none)
	roundTrip("timestamps: of the log", []*sarama.ProducerMessage{{Value: value, Timestamp: now}}, func(found []*sarama.ConsumerMessage) error {
		return capability.Check(found[0].Timestamp.After(now), found[0].Timestamp)
	}, none, "message.timestamp.type", "LogAppendTime")
}

func positions() {
	first := func(name string, offset, expected int64, count int) {
		capability.Of(name, func() error {
			found, err := read(topic, 0, offset, count)
			if err != nil {
				return err
			}
			return capability.Same(found[0].Offset, expected)
		})
	}
	first("seek", 7, 7, 3)
	first("seek to the beginning and the end", sarama.OffsetOldest, 0, 10)
	capability.Of("consumer Topics of all", func() error {
		consumer, err := sarama.NewConsumer(brokers, config())
		if err != nil {
			return err
		}
		defer consumer.Close()
		topics, err := consumer.Topics()
		if err != nil {
			return err
		}
		partitions, err := consumer.Partitions(topic)
		if err != nil {
			return err
		}
		return capability.Check(len(topics) > 0 && len(partitions) == 2, topics, partitions)
	})
	capability.Of("pause and resume", func() error {
		consumer, err := sarama.NewConsumer(brokers, config())
		if err != nil {
			return err
		}
		defer consumer.Close()
		claim, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		defer claim.Close()
		consumer.PauseAll()
		consumer.ResumeAll()
		select {
		case <-claim.Messages():
			return nil
		case <-time.After(30 * time.Second):
			return errors.New("no message")
		}
	})
}

func share(changes ...func(*sarama.Config)) error {
	topic, group := newTopic("shared", 4), capability.Unique("group")
	if err := produce(plain(topic, 40, 4)); err != nil {
		return err
	}
	first, err := join(group, []string{topic}, true, changes...)
	if err != nil {
		return err
	}
	defer first.leave()
	second, err := join(group, []string{topic}, true, changes...)
	if err != nil {
		return err
	}
	wait := func(what string, expected ...int) error {
		return capability.Until(what, func() bool {
			described, err := admin.DescribeConsumerGroups([]string{group})
			if err != nil || described[0].State != "Stable" || len(described[0].Members) != len(expected) {
				return false
			}
			for _, member := range described[0].Members {
				assignment, err := member.GetMemberAssignment()
				if err != nil || len(assignment.Topics[topic]) != expected[0] {
					return false
				}
			}
			return true
		})
	}
	if err := wait("two each", 2, 2); err != nil {
		second.leave()
		return err
	}
	second.leave()
	if err := wait("all for the one that is left", 4); err != nil {
		return err
	}
	// What the second has taken and marked, the first does not get: which of them took a message is up to their timing.
	seen := map[string]bool{}
	return capability.Until("every message", func() bool {
		for {
			select {
			case message := <-first.messages:
				seen[fmt.Sprintf("%d/%d", message.Partition, message.Offset)] = true
			case message := <-second.messages:
				seen[fmt.Sprintf("%d/%d", message.Partition, message.Offset)] = true
			default:
				return len(seen) == 40
			}
		}
	})
}

func groups() {
	for name, strategy := range map[string]sarama.BalanceStrategy{"range": sarama.NewBalanceStrategyRange(), "roundrobin": sarama.NewBalanceStrategyRoundRobin(),
		"sticky": sarama.NewBalanceStrategySticky(), "cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky()} {
		capability.Of("group "+name, func() error {
			return share(func(config *sarama.Config) {
				config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
			})
		})
	}
	capability.Of("group of static members", func() error {
		group := capability.Unique("static")
		for range 2 {
			joined, err := join(group, []string{topic}, false, func(config *sarama.Config) { config.Consumer.Group.InstanceId = "one" })
			if err != nil {
				return err
			}
			if _, err := joined.take(20); err != nil {
				return err
			}
			joined.leave()
		}
		return nil
	})
}

func commits() {
	all := map[int32]int64{0: 10, 1: 10}
	capability.Of("commit automatic", func() error {
		group := capability.Unique("commit")
		joined, err := join(group, []string{topic}, true, func(config *sarama.Config) { config.Consumer.Offsets.AutoCommit.Interval = 100 * time.Millisecond })
		if err != nil {
			return err
		}
		defer joined.leave()
		if _, err := joined.take(20); err != nil {
			return err
		}
		return capability.Until("committed", func() bool { return reflect.DeepEqual(committed(group), all) })
	})
	form := func(name string, expected map[int32]int64, commit func(sarama.ConsumerGroupSession)) {
		capability.Of("commit "+name, func() error {
			group := capability.Unique("commit")
			joined, err := join(group, []string{topic}, false, manual)
			if err != nil {
				return err
			}
			defer joined.leave()
			if _, err := joined.take(20); err != nil {
				return err
			}
			commit(<-joined.session)
			return capability.Same(committed(group), expected)
		})
	}
	form("synchronous", all, func(session sarama.ConsumerGroupSession) {
		session.MarkOffset(topic, 0, 10, "")
		session.MarkOffset(topic, 1, 10, "")
		session.Commit()
	})
	form("of one message", map[int32]int64{0: 5}, func(session sarama.ConsumerGroupSession) {
		session.MarkMessage(&sarama.ConsumerMessage{Topic: topic, Partition: 0, Offset: 4}, "")
		session.Commit()
	})
	capability.Of("commit with metadata, without joining", func() error {
		client, err := sarama.NewClient(brokers, config(manual))
		if err != nil {
			return err
		}
		defer client.Close()
		group := capability.Unique("commit")
		for _, expected := range []int64{-2, 3} {
			manager, err := sarama.NewOffsetManagerFromClient(group, client)
			if err != nil {
				return err
			}
			partition, err := manager.ManagePartition(topic, 0)
			if err != nil {
				return err
			}
			offset, metadata := partition.NextOffset()
			if offset != expected || offset == 3 && metadata != "mine \u00e9" {
				return fmt.Errorf("%d %q", offset, metadata)
			}
			partition.MarkOffset(3, "mine \u00e9")
			manager.Commit()
			partition.AsyncClose()
			if err := manager.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}

func transactions() {
	named := func(id string, timeout time.Duration) (sarama.SyncProducer, error) {
		return sarama.NewSyncProducer(brokers, config(func(config *sarama.Config) {
			config.Producer.Transaction.ID, config.Producer.Transaction.Timeout = id, timeout
			config.Producer.Idempotent, config.Producer.RequiredAcks, config.Net.MaxOpenRequests = true, sarama.WaitForAll, 1
			config.Producer.Transaction.Retry.Max = 10
		}))
	}
	transactional := func() (sarama.SyncProducer, error) { return named(capability.Unique("transaction"), time.Minute) }
	begin := func(producer sarama.SyncProducer, topic, value string) error {
		if err := producer.BeginTxn(); err != nil {
			return err
		}
		_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)})
		return err
	}
	readCommitted := func(topic string) error {
		found, err := read(topic, 0, sarama.OffsetOldest, 1, func(config *sarama.Config) { config.Consumer.IsolationLevel = sarama.ReadCommitted })
		if err != nil {
			return err
		}
		return capability.Same(string(found[0].Value), "committed")
	}
	run := func(name string, values ...string) {
		capability.Of("transaction "+name, func() error {
			topic := newTopic("transaction", 1)
			producer, err := transactional()
			if err != nil {
				return err
			}
			defer producer.Close()
			for _, value := range values {
				if err := begin(producer, topic, value); err != nil {
					return err
				}
				end := producer.CommitTxn
				if value == "aborted" {
					end = producer.AbortTxn
				}
				if err := end(); err != nil {
					return err
				}
			}
			return readCommitted(topic)
		})
	}
	run("committed", "committed")
	run("aborted", "aborted", "committed")
	capability.Of("transaction with offsets", func() error {
		group := capability.Unique("group")
		producer, err := transactional()
		if err != nil {
			return err
		}
		defer producer.Close()
		if err := producer.BeginTxn(); err != nil {
			return err
		}
		offsets := map[string][]*sarama.PartitionOffsetMetadata{topic: {{Partition: 0, Offset: 5, LeaderEpoch: -1}}}
		if err := producer.AddOffsetsToTxn(offsets, group); err != nil {
			return err
		}
		if err := producer.CommitTxn(); err != nil {
			return err
		}
		return capability.Until("committed", func() bool { return committed(group)[0] == 5 })
	})
	capability.Of("transaction read-process-write", func() error {
		group, made := capability.Unique("group"), newTopic("transaction", 1)
		reader, err := join(group, []string{topic}, false, manual)
		if err != nil {
			return err
		}
		defer reader.leave()
		messages, err := reader.take(20)
		if err != nil {
			return err
		}
		producer, err := transactional()
		if err != nil {
			return err
		}
		defer producer.Close()
		process := func(prefix string, end func() error) ([]string, error) {
			if err := producer.BeginTxn(); err != nil {
				return nil, err
			}
			var copies []string
			for _, message := range messages {
				copies = append(copies, prefix+string(message.Value))
				copied := &sarama.ProducerMessage{Topic: made, Value: sarama.StringEncoder(prefix + string(message.Value))}
				if _, _, err := producer.SendMessage(copied); err != nil {
					return nil, err
				}
				if err := producer.AddMessageToTxn(message, group, nil); err != nil {
					return nil, err
				}
			}
			return copies, end()
		}
		if _, err := process("aborted ", producer.AbortTxn); err != nil {
			return err
		}
		if err := capability.Same(len(committed(group)), 0); err != nil {
			return err
		}
		copies, err := process("committed ", producer.CommitTxn)
		if err != nil {
			return err
		}
		found, err := read(made, 0, sarama.OffsetOldest, 20, func(config *sarama.Config) { config.Consumer.IsolationLevel = sarama.ReadCommitted })
		if err != nil {
			return err
		}
		var values []string
		for _, message := range found {
			values = append(values, string(message.Value))
		}
		if err := capability.Same(values, copies); err != nil {
			return err
		}
		return capability.Same(committed(group), map[int32]int64{0: 10, 1: 10})
	})
	capability.Of("transaction of a zombie refused", func() error {
		id, topic := capability.Unique("transaction"), newTopic("transaction", 1)
		zombie, err := named(id, time.Minute)
		if err != nil {
			return err
		}
		defer zombie.Close()
		if err := begin(zombie, topic, "zombie"); err != nil {
			return err
		}
		successor, err := named(id, time.Minute)
		if err != nil {
			return err
		}
		defer successor.Close()
		if err := begin(successor, topic, "committed"); err != nil {
			return err
		}
		if err := successor.CommitTxn(); err != nil {
			return err
		}
		if err := capability.Check(zombie.CommitTxn() != nil, "committed"); err != nil {
			return err
		}
		return readCommitted(topic)
	})
	capability.Of("transaction timed out", func() error {
		topic := newTopic("transaction", 1)
		producer, err := named(capability.Unique("transaction"), time.Second)
		if err != nil {
			return err
		}
		defer producer.Close()
		if err := begin(producer, topic, "late"); err != nil {
			return err
		}
		if err := produce([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.StringEncoder("committed")}}); err != nil {
			return err
		}
		if err := readCommitted(topic); err != nil {
			return err
		}
		return capability.Check(producer.CommitTxn() != nil, "committed")
	})
}
