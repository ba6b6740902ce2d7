// Numbers go from topic to topic in transactions while the broker is killed again and again: franz-go.
//
// One producer writes numbers to "in". A GroupTransactSession copies them to "out", each some of them and their offsets in one
// transaction. That goes on until the standard input ends; then "out" is read as a reader of committed records sees it.
//
// usage: exactly-once BOOTSTRAP
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"ottla/compat-tests/capability"
)

const partitions = 4

var (
	ctx   = context.Background()
	seeds = kgo.SeedBrokers(strings.Split(os.Args[1], ",")...)
	ended atomic.Bool
)

func client(options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append(options, seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))...)
	capability.Must(err)
	return made
}

// generate writes numbers until the end, and gives how many.
func generate() int {
	producer := client(kgo.ProducerLinger(2 * time.Millisecond))
	defer producer.Close()
	number := 0
	for ; !ended.Load(); number++ {
		record := &kgo.Record{Topic: "in", Partition: int32(number % partitions), Value: []byte(strconv.Itoa(number))}
		producer.Produce(ctx, record, func(_ *kgo.Record, err error) { capability.Must(err) })
		if number%10 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	capability.Must(producer.Flush(ctx))
	return number
}

func newSession() (*kgo.GroupTransactSession, error) {
	return kgo.NewGroupTransactSession(seeds, kgo.TransactionalID("pipeline"), kgo.TransactionTimeout(30*time.Second),
		kgo.ConsumerGroup("pipeline"), kgo.ConsumeTopics("in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond))
}

// step copies some numbers, and gives how many are committed.
func step(session *kgo.GroupTransactSession) (int, error) {
	deadline, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	// An error of a fetch is told, and the fetch tried again.
	records := session.PollRecords(deadline, 100).Records()
	if len(records) == 0 {
		return 0, nil
	}
	if err := session.Begin(); err != nil {
		return 0, err
	}
	for _, record := range records {
		session.Produce(ctx, &kgo.Record{Topic: "out", Partition: record.Partition, Value: record.Value}, nil)
	}
	// It aborts by itself where a record was not stored or the group has changed, and reads again.
	committed, err := session.End(ctx, kgo.TryCommit)
	if err != nil || !committed {
		return 0, err
	}
	return len(records), nil
}

func pipe(isDone func() bool) {
	var session *kgo.GroupTransactSession
	committed := 0
	for !isDone() {
		if session == nil {
			made, err := newSession()
			capability.Must(err)
			session = made
		}
		count, err := step(session)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			session.Close()
			session = nil
		}
		if committed += count; count > 0 {
			fmt.Printf("# committed %d\n", committed)
		}
	}
	session.Close()
}

// read gives how often each number is in "out", and how many stand before a smaller one.
func read(count int) (map[int]int, int) {
	consumer := client(kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer consumer.Close()
	found, last, unordered := map[int]int{}, map[int32]int{}, 0
	began, heard := time.Now(), time.Now()
	for time.Since(began) < time.Minute && (len(found) < count || time.Since(heard) < 2*time.Second) {
		deadline, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		for _, record := range consumer.PollFetches(deadline).Records() {
			number, err := strconv.Atoi(string(record.Value))
			capability.Must(err)
			found[number]++
			if before, seen := last[record.Partition]; seen && before > number {
				unordered++
			}
			last[record.Partition] = number
			heard = time.Now()
		}
		cancel()
	}
	return found, unordered
}

func main() {
	admin := kadm.NewClient(client())
	created, err := admin.CreateTopics(ctx, partitions, 1, nil, "in", "out")
	capability.Must(err)
	capability.Must(created.Error())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended.Store(true)
	}()
	var generated atomic.Int64
	go func() { generated.Store(int64(generate())) }()
	// The answer to a commit may be lost: what counts is what the group has committed.
	pipe(func() bool {
		all := generated.Load()
		if all == 0 {
			return false
		}
		deadline, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		offsets, err := admin.FetchOffsets(deadline, "pipeline")
		var sum int64
		offsets.Each(func(offset kadm.OffsetResponse) { sum += max(offset.At, 0) })
		return err == nil && sum == all
	})
	count := int(generated.Load())
	found, unordered := read(count)
	result := map[string]int{"lost": 0, "twice": 0, "invented": 0, "unordered": unordered}
	for number := range count {
		if found[number] == 0 {
			result["lost"]++
		}
	}
	for number, times := range found {
		if times > 1 {
			result["twice"]++
		}
		if number >= count {
			result["invented"]++
		}
	}
	told, _ := json.Marshal(result)
	fmt.Println(string(told))
}
