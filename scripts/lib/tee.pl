# Copies standard input to standard output and to a file: perl tee.pl FILE [BYTES]; no more than BYTES of it, and none of
# what follows is read. Like tee(1), which moves 8 kB at a time and takes twice as much of the processor for it; and ends
# as soon as one of the two cannot be written.
use strict;
use warnings;

use constant {
  BLOCK       => 1 << 18,    # bytes
  PIPE_SIZE   => 1 << 20,    # bytes; as many as Linux lets any user have
  F_SETPIPE_SZ => 1031,      # from fcntl.h; Perl's module Fcntl does not have it
};

my ($name, $left) = @ARGV;
$left //= 'inf';
open(my $file, '>', $name) or die "$name: $!\n";
my @outputs = (['standard output', \*STDOUT], [$name, $file]);
for my $handle (\*STDIN, \*STDOUT, $file) {
  binmode($handle, ':raw') or die "binmode: $!\n";    # bytes, whatever PERL_UNICODE says
  fcntl($handle, F_SETPIPE_SZ, PIPE_SIZE);    # what is no pipe, or may not grow, stays as it is
}

while ($left > 0) {
  my $wanted = $left < BLOCK ? $left : BLOCK;
  my $size = sysread(STDIN, my $block, $wanted) // die "standard input: $!\n";
  last if $size == 0;
  $left -= $size;
  for my $output (@outputs) {
    my ($title, $handle) = @$output;
    for (my $written = 0; $written < $size;) {
      $written += syswrite($handle, $block, $size - $written, $written) // die "$title: $!\n";
    }
  }
}
for my $output (@outputs) {
  my ($title, $handle) = @$output;
  close($handle) or die "$title: $!\n";
}
