/*
 * The load of the bench: many connections to one Unix socket, or to a port of 127.0.0.1, each with one request under way at a
 * time (closed loop).
 *
 * In C and in a process of its own, because on two cores whatever the generator uses is taken from what it measures:
 * about a fifth of what a generator in Node.js takes. It sends the same bytes again and again, or the next of REQUESTS equally
 * long requests, and trusts the answers' `Content-Length`; anything but that STATUS ends the measurement with the answer on
 * standard error.
 *
 *     load SOCKET|PORT CONNECTIONS WARMUP_MS MEASURE_MS STATUS REQUESTS < THE_REQUESTS
 *
 * Prints `started` when the warm-up is over, then one line of JSON.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "latencies.h"

enum { max_answer_bytes = 64 * 1024 };

struct connection {
  int socket;
  uint64_t sent_at;
  size_t received;
  size_t expected; /* 0 until the header is complete. */
  char answer[max_answer_bytes];
};

static char *requests;
static size_t request_bytes; /* Of one. */
static size_t request_count;
static size_t next_request;
static char expected_start[16];

static void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void read_requests(void) {
  size_t bytes = 0, capacity = 64 * 1024;
  ssize_t got;
  do {
    requests = realloc(requests, capacity);
    if (requests == NULL) fail("memory");
    while ((got = read(0, requests + bytes, capacity - bytes)) > 0) bytes += (size_t)got;
    if (got < 0) fail("reading the requests");
    capacity *= 2;
  } while (bytes == capacity / 2);
  request_bytes = bytes / request_count;
}

static void connect_to(struct connection *connection, const char *where) {
  struct sockaddr_un path = {.sun_family = AF_UNIX};
  struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  bool is_path = where[0] == '/';
  if (is_path && strlen(where) >= sizeof path.sun_path) {
    fprintf(stderr, "load: the path of the socket is too long\n");
    exit(1);
  }
  if (is_path) strcpy(path.sun_path, where);
  else port.sin_port = htons((uint16_t)atoi(where));
  connection->socket = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection->socket < 0) fail("socket");
  int on = 1;
  if (!is_path) setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const struct sockaddr *address = is_path ? (struct sockaddr *)&path : (struct sockaddr *)&port;
  if (connect(connection->socket, address, is_path ? sizeof path : sizeof port) != 0) fail("connect");
}

static void send_request(struct connection *connection, uint64_t now) {
  connection->received = 0;
  connection->expected = 0;
  connection->sent_at = now;
  const char *request = requests + next_request * request_bytes;
  if (++next_request == request_count) next_request = 0;
  /* A request is smaller than a socket's buffer, and nothing else is in it: it goes out whole. */
  ssize_t sent = send(connection->socket, request, request_bytes, MSG_NOSIGNAL);
  if (sent != (ssize_t)request_bytes) fail("send");
}

/* The length of the whole answer, once its header is there. */
static size_t answer_length(const struct connection *connection) {
  const char *end = memmem(connection->answer, connection->received, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  if (strncmp(connection->answer, expected_start, strlen(expected_start)) != 0) {
    fprintf(stderr, "load: the answer was:\n%.*s\n", (int)connection->received, connection->answer);
    exit(1);
  }
  for (const char *line = connection->answer; line < end; line = strstr(line, "\r\n") + 2) {
    if (strncasecmp(line, "content-length:", 15) == 0) {
      return (size_t)(end - connection->answer) + 4 + strtoul(line + 15, NULL, 10);
    }
  }
  fprintf(stderr, "load: an answer without Content-Length\n");
  exit(1);
}

/* Takes what has arrived; true when the answer is complete. */
static bool receive_answer(struct connection *connection) {
  ssize_t got = recv(connection->socket, connection->answer + connection->received,
                     sizeof connection->answer - 1 - connection->received, 0);
  if (got < 0) fail("recv");
  if (got == 0) {
    fprintf(stderr, "load: the daemon closed a connection\n");
    exit(1);
  }
  connection->received += (size_t)got;
  connection->answer[connection->received] = '\0';
  if (connection->expected == 0) connection->expected = answer_length(connection);
  if (connection->expected >= sizeof connection->answer) {
    fprintf(stderr, "load: an answer of %zu bytes is too long\n", connection->expected);
    exit(1);
  }
  return connection->expected != 0 && connection->received >= connection->expected;
}

int main(int count, char **arguments) {
  if (count != 7) {
    fprintf(stderr, "usage: load SOCKET|PORT CONNECTIONS WARMUP_MS MEASURE_MS STATUS REQUESTS < THE_REQUESTS\n");
    return 2;
  }
  int connections = atoi(arguments[2]);
  uint64_t warmup_nanos = strtoull(arguments[3], NULL, 10) * 1000000u;
  uint64_t measure_nanos = strtoull(arguments[4], NULL, 10) * 1000000u;
  snprintf(expected_start, sizeof expected_start, "HTTP/1.1 %.3s", arguments[5]);
  request_count = strtoul(arguments[6], NULL, 10);
  if (request_count == 0) request_count = 1;
  read_requests();

  struct connection *all = calloc((size_t)connections, sizeof *all);
  int poll = epoll_create1(EPOLL_CLOEXEC);
  if (all == NULL || poll < 0) fail("setting up");
  for (int index = 0; index < connections; index++) {
    connect_to(&all[index], arguments[1]);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[index]};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, all[index].socket, &event) != 0) fail("epoll_ctl");
  }

  struct latencies latencies = {0};
  uint64_t warm_at = now_nanos() + warmup_nanos, begin = 0, now = now_nanos();
  for (int index = 0; index < connections; index++) send_request(&all[index], now);
  for (;;) {
    struct epoll_event events[256];
    int ready = epoll_wait(poll, events, sizeof events / sizeof *events, 10000);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) fail("epoll_wait");
    if (ready == 0) {
      fprintf(stderr, "load: no answer for 10 seconds\n");
      return 1;
    }
    for (int index = 0; index < ready; index++) {
      struct connection *connection = events[index].data.ptr;
      if (!receive_answer(connection)) continue;
      now = now_nanos();
      if (begin != 0) add_latency(&latencies, now - connection->sent_at);
      send_request(connection, now);
    }
    now = now_nanos();
    if (begin == 0 && now >= warm_at) {
      begin = now;
      printf("started\n");
      fflush(stdout);
    } else if (begin != 0 && now >= begin + measure_nanos) {
      break;
    }
  }
  print_result(&latencies, (double)(now_nanos() - begin) / 1e9);
  return 0;
}
