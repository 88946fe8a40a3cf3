# Twenty cases for the tests of mufnet_lightning.evaluation.delong, with pROC's answers.
#
#     Rscript make_reference.R
#
# writes cases.csv (case, label, and up to three arms' scores) and cases.jsonl (a line a pair of arms) beside
# itself. pROC 1.18.0 made the stored ones; the tests read those, and do not need R.
suppressPackageStartupMessages(library(pROC))
set.seed(20250923, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")

normal_case <- function(low, high, shifts, shared = 0.5, digits = NA) {
  label <- sample(rep(0:1, c(low, high)))
  common <- rnorm(low + high)
  scores <- sapply(shifts, function(shift) {
    values <- shift * label + sqrt(shared) * common + sqrt(1 - shared) * rnorm(low + high)
    if (is.na(digits)) values else round(values, digits)
  })
  data.frame(label = label, scores)
}
given_case <- function(label, ...) data.frame(label = label, ...)

cases <- list(
  two_against_three = given_case(c(1, 0, 0, 1, 0), c(.9, .2, .7, .6, .1), c(.3, .5, .2, .8, .4)),
  two_against_two = given_case(c(1, 0, 1, 0), c(.4, .3, .2, .1), c(.4, .3, .1, .2)),
  three_against_three_tied = given_case(c(1, 1, 1, 0, 0, 0), c(3, 2, 2, 2, 1, 1), c(1, 2, 3, 3, 2, 1)),
  perfect_against_imperfect = given_case(rep(0:1, each = 6), 1:12, c(1, 7, 3, 4, 5, 6, 2, 8, 9, 10, 11, 12)),
  both_perfect = given_case(rep(0:1, each = 5), 1:10, (1:10)^2),
  identical_arms = {
    one <- normal_case(30, 20, 1)
    given_case(one$label, one[[2]], one[[2]])
  },
  monotone_arms = {
    one <- normal_case(30, 20, 1)
    given_case(one$label, one[[2]], exp(one[[2]]))
  },
  all_tied = given_case(rep(0:1, c(7, 5)), rep(0.5, 12), c(1, 5, 2, 7, 3, 8, 4, 6, 9, 12, 10, 11)),
  below_half = normal_case(60, 40, c(-1, -0.3)),
  opposite = normal_case(60, 40, c(1.2, -1.2)),
  heavy_ties = normal_case(150, 100, c(0.8, 1.1), digits = 0),
  two_values = given_case(sample(rep(0:1, c(80, 60))), sample(0:1, 140, TRUE), sample(0:1, 140, TRUE)),
  few_high = normal_case(500, 4, c(1.5, 1)),
  few_low = normal_case(3, 300, c(0.5, 1)),
  the_papers_patients = normal_case(74, 26, c(1.395, 1.436, 2.002), shared = 0.6),
  three_arms_tied = normal_case(90, 70, c(0.2, 0.9, 1.4), digits = 1),
  correlated = normal_case(200, 120, c(1, 1.05), shared = 0.98),
  uncorrelated = normal_case(200, 120, c(1, 1.4), shared = 0),
  thousands = normal_case(3500, 2500, c(1.2, 1.3), shared = 0.7, digits = 4),
  thousands_tied = normal_case(2400, 600, c(0.4, 0.6), shared = 0.3, digits = 1)
)

number <- function(x) ifelse(is.infinite(x), ifelse(x > 0, "Infinity", "-Infinity"), sprintf("%.17g", x))
exact <- function(x) {
  short <- sprintf("%.15g", x)
  ifelse(as.numeric(short) == x, short, sprintf("%.17g", x))
}
vector <- function(x) paste0("[", paste(number(x), collapse = ","), "]")
rows <- c("case,label,a,b,c")
lines <- c()
for (name in names(cases)) {
  case <- cases[[name]]
  texts <- lapply(case[-1], exact)
  while (length(texts) < 3) texts[[length(texts) + 1]] <- rep("", nrow(case))
  rows <- c(rows, paste(name, case$label, texts[[1]], texts[[2]], texts[[3]], sep = ","))
  arms <- lapply(case[-1], function(x) {
    roc(case$label, x, levels = c(0, 1), direction = "<", quiet = TRUE)
  })
  for (pair in combn(length(arms), 2, simplify = FALSE)) {
    a <- arms[[pair[1]]]
    b <- arms[[pair[2]]]
    test <- suppressWarnings(roc.test(a, b, method = "delong", paired = TRUE))
    limits <- lapply(list(a, b), function(x) {
      as.numeric(suppressWarnings(ci.auc(x, method = "delong", conf.level = 0.95)))[c(1, 3)]
    })
    lines <- c(lines, sprintf(
      paste0(
        '{"case":"%s","a":"%s","b":"%s","auc_a":%s,"auc_b":%s,"var_a":%s,"var_b":%s,"cov":%s,',
        '"z":%s,"p":%s,"ci_a":%s,"ci_b":%s}'
      ),
      name, letters[pair[1]], letters[pair[2]], number(as.numeric(auc(a))), number(as.numeric(auc(b))),
      number(suppressWarnings(var(a))), number(suppressWarnings(var(b))),
      number(suppressWarnings(cov(a, b))), number(as.numeric(test$statistic)), number(test$p.value),
      vector(limits[[1]]), vector(limits[[2]])
    ))
  }
}
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
writeLines(rows, file.path(folder, "cases.csv"))
writeLines(lines, file.path(folder, "cases.jsonl"))
