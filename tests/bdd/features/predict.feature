Feature: Predicting the species of an iris
  Whoever has measured a flower learns its species from the API.

  Background:
    Given a server with the iris model

  Scenario Outline: A flower is recognised
    When I ask for <sepal_length>, <sepal_width>, <petal_length> and <petal_width>
    Then the answer is 200
    And the species is <species>
    And the probabilities add up to 1

    Examples:
      | sepal_length | sepal_width | petal_length | petal_width | species    |
      | 5.1          | 3.5         | 1.4          | 0.2         | setosa     |
      | 6.0          | 2.7         | 4.1          | 1.2         | versicolor |
      | 6.3          | 3.3         | 6.0          | 2.5         | virginica  |

  Scenario: A measurement that cannot be is refused
    When I ask for -5.1, 3.5, 1.4 and 0.2
    Then the answer is 422
    And it says "Measurement must be positive"

  Scenario: The server tells that it is well
    When I ask for its health
    Then the answer is 200
    And its status is healthy
