// Package capability reports what a client can do, one line of JSON each:
// {"capability": "produce gzip", "ok": true}, or with "ok": false and "error".
package capability

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

const limit = 60 * time.Second

var names []string

// Of runs the body at once; where it gives an error, panics, or does not come back, the capability has failed.
// CAPABILITY=text in the environment: only those whose names begin so.
func Of(name string, body func() error) {
	names = append(names, name)
	if !strings.HasPrefix(name, os.Getenv("CAPABILITY")) {
		return
	}
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if failure := recover(); failure != nil {
				done <- fmt.Errorf("%v\n%s", failure, debug.Stack())
			}
		}()
		done <- body()
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(limit):
		err = fmt.Errorf("no answer in %v", limit)
	}
	line := struct {
		Capability string `json:"capability"`
		Ok         bool   `json:"ok"`
		Error      string `json:"error,omitempty"`
	}{name, err == nil, ""}
	if err != nil {
		line.Error = err.Error()
	}
	written, _ := json.Marshal(line)
	fmt.Fprintf(os.Stderr, "%6.2f s %s\n", time.Since(began).Seconds(), name)
	fmt.Println(string(written))
}

// AllPublicCalls checks that the list is complete: every public method of the type has a capability "AREA method ...",
// or asks the broker nothing and is left out.
func AllPublicCalls(area string, kind reflect.Type, leavingOut ...string) {
	tried := map[string]bool{}
	for _, name := range names {
		if rest, found := strings.CutPrefix(name, area+" "); found {
			tried[strings.Fields(rest)[0]] = true
		}
	}
	var missing []string
	for index := range kind.NumMethod() {
		name := kind.Method(index).Name
		if !tried[name] && !slices.Contains(leavingOut, name) {
			missing = append(missing, name)
		}
	}
	Of(area+": every public call is tried", func() error { return Check(len(missing) == 0, missing) })
}

// Must ends the program where what all capabilities need cannot be had.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Check gives an error with what was found where it does not hold.
func Check(holds bool, found ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("found %+v", found)
}

// Same gives an error where the two differ.
func Same[T any](found, expected T) error {
	if reflect.DeepEqual(found, expected) {
		return nil
	}
	return fmt.Errorf("%+v instead of %+v", found, expected)
}

// Refused gives an error where the call did not fail with the expected one.
func Refused(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return fmt.Errorf("%v instead of %v", err, expected)
}

// Until asks again until it is so.
func Until(what string, condition func() bool) error {
	deadline := time.Now().Add(limit / 2)
	for !condition() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not in %v: %s", limit/2, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// Unique gives a name that no other program takes that uses the same broker.
func Unique(name string) string {
	random := make([]byte, 4)
	_, _ = rand.Read(random)
	return name + "-" + hex.EncodeToString(random)
}

// Failure gives the first error that is somewhere in an answer: the fields "Err" of its parts.
func Failure(answer any) error {
	return failure(reflect.ValueOf(answer))
}

func failure(value reflect.Value) error {
	switch value.Kind() {
	case reflect.Map:
		for _, key := range value.MapKeys() {
			if err := failure(value.MapIndex(key)); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		for index := range value.Len() {
			if err := failure(value.Index(index)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for index := range value.NumField() {
			field := value.Type().Field(index)
			if err, is := fieldError(value.Field(index), field); is {
				if err != nil {
					return err
				}
			} else if field.IsExported() {
				if err := failure(value.Field(index)); err != nil {
					return err
				}
			}
		}
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() && value.Elem().IsValid() {
			return failure(value.Elem())
		}
	}
	return nil
}

func fieldError(value reflect.Value, field reflect.StructField) (error, bool) {
	if !field.IsExported() || field.Type != reflect.TypeFor[error]() {
		return nil, false
	}
	err, _ := value.Interface().(error)
	return err, true
}
