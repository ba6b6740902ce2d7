// franz-go does what it is told; compat_tests::workload says what. usage: commanded BOOTSTRAP
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type command struct {
	Do              string
	TransactionalID *string `json:"transactional_id"`
	TimeoutMs       int     `json:"timeout_ms"`
	Records         [][3]any
	Offsets         [][3]any
	Positions       [][3]any
	Group, Protocol string
	Committed       bool
	Topic           *string
	Count, Ms       int
}

var (
	ctx                = context.Background()
	producer, consumer *kgo.Client
	mutex              sync.Mutex
	assigned           []any // since the last poll
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var told command
		answer := any(map[string]any{})
		err := json.Unmarshal(lines.Bytes(), &told)
		if err == nil {
			answer, err = obey(told)
		}
		if err != nil {
			answer = map[string]any{"error": err.Error(), "abort": abortable(err)}
		}
		text, _ := json.Marshal(answer)
		fmt.Println(string(text))
	}
}

// abortable: the transaction is not committed, and can be aborted.
func abortable(err error) bool {
	return errors.Is(err, kerr.OperationNotAttempted) || errors.Is(err, kerr.TransactionAbortable)
}

func obey(told command) (any, error) {
	deadline, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	nothing := map[string]any{}
	switch told.Do {
	case "producer":
		return nothing, makeProducer(deadline, told)
	case "consumer":
		return nothing, makeConsumer(told)
	}
	if told.Do == "poll" || told.Do == "assign" || told.Do == "commit_offsets" {
		if consumer == nil {
			return nil, errors.New("no consumer")
		}
	} else if producer == nil {
		return nil, errors.New("no producer")
	}
	switch told.Do {
	case "begin":
		return nothing, producer.BeginTransaction()
	case "send":
		return send(deadline, told.Records), nil
	case "commit":
		return nothing, producer.EndTransaction(deadline, kgo.TryCommit)
	case "abort":
		return nothing, errors.Join(producer.AbortBufferedRecords(deadline), producer.EndTransaction(deadline, kgo.TryAbort))
	case "assign":
		assign(told.Positions)
		return nothing, nil
	case "poll":
		return poll(told)
	case "commit_offsets":
		return nothing, commitOffsets(deadline, told.Offsets)
	}
	return nil, errors.New("not known to this client: " + told.Do)
}

func options(more ...kgo.Opt) []kgo.Opt {
	return append(more, kgo.SeedBrokers(strings.Split(os.Args[1], ",")...), kgo.RequestTimeoutOverhead(4*time.Second), kgo.RetryTimeout(20*time.Second))
}

func makeProducer(deadline context.Context, told command) (err error) {
	if producer != nil {
		producer.Close()
	}
	more := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(2 * time.Millisecond), kgo.RecordDeliveryTimeout(20 * time.Second)}
	if told.TransactionalID != nil {
		more = append(more, kgo.TransactionalID(*told.TransactionalID), kgo.TransactionTimeout(time.Duration(told.TimeoutMs)*time.Millisecond))
	}
	if producer, err = kgo.NewClient(options(more...)...); err != nil {
		return err
	}
	_, _, err = producer.ProducerID(deadline)
	return err
}

func send(deadline context.Context, records [][3]any) any {
	acks := make([]any, len(records))
	var all sync.WaitGroup
	for index, record := range records {
		all.Add(1)
		value := strconv.FormatInt(int64(record[2].(float64)), 10)
		made := &kgo.Record{Topic: record[0].(string), Partition: int32(record[1].(float64)), Value: []byte(value)}
		producer.Produce(deadline, made, func(made *kgo.Record, err error) {
			if acks[index] = made.Offset; err != nil {
				acks[index] = err.Error()
			}
			all.Done()
		})
	}
	all.Wait()
	return map[string]any{"acks": acks}
}

func makeConsumer(told command) (err error) {
	if consumer != nil {
		consumer.Close()
	}
	isolation := kgo.ReadUncommitted()
	if told.Committed {
		isolation = kgo.ReadCommitted()
	}
	more := []kgo.Opt{kgo.FetchIsolationLevel(isolation), kgo.FetchMaxWait(50 * time.Millisecond)}
	if told.Topic != nil {
		more = append(more, kgo.ConsumerGroup(told.Group), kgo.ConsumeTopics(*told.Topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
			kgo.Balancers(kgo.RangeBalancer()), kgo.OnPartitionsAssigned(onAssigned))
		if told.Protocol == "consumer" {
			more = append(more, kgo.ServerSideBalancer())
		}
	}
	assigned = nil
	consumer, err = kgo.NewClient(options(more...)...)
	return err
}

func onAssigned(_ context.Context, _ *kgo.Client, got map[string][]int32) {
	mutex.Lock()
	defer mutex.Unlock()
	partitions := []any{}
	for topic, indexes := range got {
		for _, index := range indexes {
			partitions = append(partitions, []any{topic, index, nil})
		}
	}
	assigned = append(assigned, []any{"assigned", partitions})
}

func offsetOf(place [3]any) (string, int32, int64) {
	return place[0].(string), int32(place[1].(float64)), int64(place[2].(float64))
}

// assign replaces what the consumer has.
func assign(positions [][3]any) {
	wanted := map[string]map[int32]kgo.Offset{}
	for _, place := range positions {
		topic, index, offset := offsetOf(place)
		if wanted[topic] == nil {
			wanted[topic] = map[int32]kgo.Offset{}
		}
		wanted[topic][index] = kgo.NewOffset().At(offset)
	}
	unwanted := map[string][]int32{}
	for _, topic := range []string{"inputs", "outputs"} {
		unwanted[topic] = []int32{0, 1, 2}
	}
	consumer.RemoveConsumePartitions(unwanted)
	consumer.AddConsumePartitions(wanted)
}

func poll(told command) (any, error) {
	deadline, cancel := context.WithTimeout(ctx, time.Duration(told.Ms)*time.Millisecond)
	defer cancel()
	consumer.AllowRebalance()
	fetches := consumer.PollRecords(deadline, told.Count)
	mutex.Lock()
	events := append([]any{}, assigned...)
	assigned = nil
	mutex.Unlock()
	fetches.EachRecord(func(record *kgo.Record) {
		value, _ := strconv.ParseInt(string(record.Value), 10, 64)
		events = append(events, []any{"record", record.Topic, record.Partition, record.Offset, value})
	})
	for _, failed := range fetches.Errors() {
		if !errors.Is(failed.Err, context.DeadlineExceeded) {
			fmt.Fprintln(os.Stderr, "poll:", failed.Err)
		}
	}
	return map[string]any{"events": events}, nil
}

func commitOffsets(deadline context.Context, offsets [][3]any) error {
	next := map[string]map[int32]kgo.EpochOffset{}
	for _, place := range offsets {
		topic, index, offset := offsetOf(place)
		if next[topic] == nil {
			next[topic] = map[int32]kgo.EpochOffset{}
		}
		next[topic][index] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	var failed error
	consumer.CommitOffsetsSync(deadline, next, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err == nil {
			for _, topic := range response.Topics {
				for _, partition := range topic.Partitions {
					failed = errors.Join(failed, kerr.ErrorForCode(partition.ErrorCode))
				}
			}
		}
	})
	return failed
}
