// Package across is for the tests across clients: what every client writes, and how one that reads tells it.
package across

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Header of a record.
type Header struct {
	Name  string
	Value []byte
}

// Record as it is written and read.
type Record struct {
	Key, Value []byte
	Headers    []Header
}

// Codecs that Go's clients have.
var Codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// Records in order, one millisecond after the other.
var Records = []Record{
	{nil, []byte("a null key"), nil},
	{[]byte{}, []byte("an empty key"), nil},
	{[]byte("key"), nil, nil},
	{[]byte("key"), []byte{}, nil},
	{[]byte("k\u00e9y"), []byte(strings.Repeat("headers ", 20)), []Header{{"a", []byte("1")}, {"a", []byte("2")}, {"empty", []byte{}}}},
}

// Client does what the tests ask for.
type Client interface {
	// Write sends the records to the topic's first partition.
	Write(topic, codec string, baseMs int64) error
	// Read tells that many records of the topic.
	Read(topic string, count int) error
	// Member is in the group until the channel is closed.
	Member(topic, group, protocol string, stop chan struct{}) error
}

// Arguments gives the brokers, and what the tests across clients ask for where they do: [WHAT] BOOTSTRAP [ARGUMENTS].
func Arguments() (bootstrap []string, asked []string) {
	if arguments := os.Args[1:]; len(arguments) > 1 {
		return strings.Split(arguments[1], ","), append(arguments[:1:1], arguments[2:]...)
	}
	return strings.Split(os.Args[1], ","), nil
}

// Run does what is asked: write PREFIX BASE_MS, read TOPIC..., member TOPIC GROUP PROTOCOL.
func Run(client Client, asked []string) {
	var err error
	switch rest := asked[1:]; asked[0] {
	case "write":
		base, _ := strconv.ParseInt(rest[1], 10, 64)
		for _, codec := range Codecs {
			if err == nil {
				err = client.Write(rest[0]+"-"+codec, codec, base)
			}
		}
	case "read":
		for _, topic := range rest {
			if err == nil {
				err = client.Read(topic, len(Records))
			}
		}
	default:
		stop := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(stop)
		}()
		err = client.Member(rest[0], rest[1], rest[2], stop)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("end")
}

// Tell writes the line of a record.
func Tell(topic string, offset, timestampMs int64, record Record) {
	var headers []string
	for _, header := range record.Headers {
		headers = append(headers, header.Name+"="+digits(header.Value))
	}
	fmt.Println(topic, offset, timestampMs, digits(record.Key), digits(record.Value), "["+strings.Join(headers, ",")+"]")
}

func digits(bytes []byte) string {
	if bytes == nil {
		return "null"
	}
	return "x" + hex.EncodeToString(bytes)
}
