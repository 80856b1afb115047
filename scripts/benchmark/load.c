/*
 * The load of the bench: many connections to one Unix socket, or to a port of 127.0.0.1, each with one request under way at a
 * time (closed loop).
 *
 * In C and in a process of its own, because on two cores whatever the generator uses is taken from what it measures:
 * about a fifth of what a generator in Node.js takes. It sends the same bytes again and again, or the next of REQUESTS equally
 * long requests, and trusts the answers' `Content-Length`; anything but that STATUS ends the measurement with the answer on
 * standard error.
 *
 * With RATE, requests are sent at so many a second whatever the answers do (open loop): each on a connection that has none under
 * way, or on the first that has none again. What it took is counted from when it was due, so that an answer that keeps others
 * waiting is seen in theirs.
 *
 *     load SOCKET|PORT CONNECTIONS WARMUP_MS MEASURE_MS STATUS REQUESTS [RATE] < THE_REQUESTS
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

/* Waits until there is something to read, for so long at most. */
static int wait_for(int poll, struct epoll_event *events, int max, uint64_t nanos) {
  struct timespec limit = {.tv_sec = (time_t)(nanos / 1000000000u), .tv_nsec = (long)(nanos % 1000000000u)};
  int ready = epoll_pwait2(poll, events, max, &limit, NULL);
  if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
  return ready < 0 ? 0 : ready;
}

static const uint64_t last_wait_nanos = 10000000000u;

static void run_open_loop(int poll, struct connection *all, int connections, double rate, uint64_t warmup_nanos,
                          uint64_t measure_nanos) {
  struct latencies latencies = {0};
  struct connection **free_ones = calloc((size_t)connections, sizeof *free_ones);
  if (free_ones == NULL) fail("memory");
  int free_count = connections;
  for (int index = 0; index < connections; index++) free_ones[index] = &all[index];
  uint64_t start = now_nanos(), warm_at = start + warmup_nanos, end = warm_at + measure_nanos, sent = 0, due = start;
  bool is_warm = false;
  /* What was due before the end is waited for, but for a daemon that answers nothing any more. */
  for (uint64_t now = start; (due < end || free_count < connections) && now < end + last_wait_nanos; now = now_nanos()) {
    if (!is_warm && now >= warm_at) {
      is_warm = true;
      printf("started\n");
      fflush(stdout);
    }
    while (free_count > 0 && due <= now && due < end) {
      send_request(free_ones[--free_count], due);
      due = start + (uint64_t)((double)++sent * 1e9 / rate);
    }
    struct epoll_event events[256];
    uint64_t until = free_count > 0 && due < end ? due : end + last_wait_nanos;
    int ready = wait_for(poll, events, sizeof events / sizeof *events, until > now ? until - now : 0);
    now = now_nanos();
    for (int index = 0; index < ready; index++) {
      struct connection *connection = events[index].data.ptr;
      if (!receive_answer(connection)) continue;
      if (connection->sent_at >= warm_at) add_latency(&latencies, now - connection->sent_at);
      free_ones[free_count++] = connection;
    }
  }
  if (!is_warm) printf("started\n");
  print_result(&latencies, (double)measure_nanos / 1e9);
}

int main(int count, char **arguments) {
  if (count != 7 && count != 8) {
    fprintf(stderr, "usage: load SOCKET|PORT CONNECTIONS WARMUP_MS MEASURE_MS STATUS REQUESTS [RATE] < THE_REQUESTS\n");
    return 2;
  }
  double rate = count == 8 ? atof(arguments[7]) : 0;
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

  if (rate > 0) {
    run_open_loop(poll, all, connections, rate, warmup_nanos, measure_nanos);
    return 0;
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
    } else if (begin != 0 && latencies.count > 0 && now >= begin + measure_nanos) {
      break;
    }
  }
  print_result(&latencies, (double)(now_nanos() - begin) / 1e9);
  return 0;
}
